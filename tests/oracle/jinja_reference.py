"""jinja2, set up exactly as transformers does it for chat templates: its own compile function is
called, so that a change there shows here."""

import json

from transformers.utils import chat_template_utils as utils


def compile_template(text):
    return utils._compile_jinja_template(text)


def render(text, variables):
    """The text that a template gives."""
    return compile_template(text).render(**json.loads(json.dumps(variables)))


def outcome(text, variables):
    """(text, None), or (None, what was raised)."""
    try:
        return render(text, variables), None
    except RecursionError as error:
        return None, f"RecursionError: {error}"
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
