/* object.name and object[key], as jinja2's immutable sandbox takes them. */
#include <string.h>

#include "template/run.h"

static struct value undefined_attribute(struct run *run, struct value object, struct value name) {
    const char *type = value_type_name(object);
    if (object.kind == VALUE_NONE)
        return value_undefined(run, "'None' has no attribute '%.*s'", (int)name.text.length,
                               name.text.bytes);
    return value_undefined(run, "'%s object' has no attribute '%.*s'", type, (int)name.text.length,
                           name.text.bytes);
}

static bool is_text(struct value name, const char *text) {
    return name.text.length == strlen(text) && memcmp(name.text.bytes, text, name.text.length) == 0;
}

/* loop.index and its like; false when a loop has no such attribute. */
static bool loop_attribute(struct run *run, struct value *out, struct loop *loop,
                           struct value name) {
    if (is_text(name, "index")) {
        *out = value_integer(loop->index0 + 1);
    } else if (is_text(name, "index0")) {
        *out = value_integer(loop->index0);
    } else if (is_text(name, "first")) {
        *out = value_bool(loop->index0 == 0);
    } else if (is_text(name, "last")) {
        *out = value_bool(!loop_peek(run, loop));
    } else if (is_text(name, "length")) {
        *out = value_integer(loop_length(run, loop));
    } else if (is_text(name, "revindex")) {
        *out = value_integer(loop_length(run, loop) - loop->index0);
    } else if (is_text(name, "revindex0")) {
        *out = value_integer(loop_length(run, loop) - loop->index0 - 1);
    } else if (is_text(name, "depth")) {
        *out = value_integer(loop->depth0 + 1);
    } else if (is_text(name, "depth0")) {
        *out = value_integer(loop->depth0);
    } else if (is_text(name, "previtem")) {
        *out = loop->index0 ? loop->previous : value_undefined(run, "there is no previous item");
    } else if (is_text(name, "nextitem")) {
        *out = loop_peek(run, loop) ? loop->next : value_undefined(run, "there is no next item");
    } else {
        return false;
    }
    return true;
}

/* An attribute that Python's object has; false when it has none of that name. */
static bool find_attribute(struct run *run, struct value *out, struct value object,
                           struct value name) {
    const char *bytes = name.text.bytes;
    size_t length = name.text.length;
    if (object.kind == VALUE_NAMESPACE) {
        const struct value *known = dict_find_text(object.dict, bytes, length);
        if (known) *out = *known;
        if (known) return true;
    }
    if (object.kind == VALUE_TUPLE && object.safe) {
        bool grouper = is_text(name, "grouper");
        *out = object.list->items[grouper ? 0 : 1];
        if (grouper || is_text(name, "list")) return true;
    }
    if (object.kind == VALUE_LOOP && loop_attribute(run, out, object.loop, name)) return true;
    if (length > 1 && bytes[0] == '_' && bytes[1] == '_') {
        run_fail(run, "the attribute \"%.*s\" is not understood", (int)length, bytes);
        return true;
    }
    const struct builtin *method = method_find(object.kind, bytes, length);
    if (!method) return false;
    if (!method->parameters) { /* it would change the object */
        *out = value_undefined(run, "access to attribute '%s' of '%s' object is unsafe.",
                               method->name, value_type_name(object));
        return true;
    }
    if (!method->call) {
        run_fail(run, "the attribute \"%s\" of a %s is not understood", method->name,
                 value_type_name(object));
        return true;
    }
    struct value_method *bound = arena_take(&run->arena, sizeof *bound);
    if (!bound) {
        run_fail(run, "%s", status_message());
        return true;
    }
    *bound = (struct value_method){object, method};
    *out = (struct value){.kind = VALUE_METHOD, .method = bound};
    return true;
}

static bool fail_if_undefined(struct run *run, struct value object) {
    if (object.kind == VALUE_UNDEFINED)
        run_fail(run, "%s", object.reason ? object.reason : "the value is undefined");
    return run->status != STATUS_OK;
}

struct value evaluate_attribute(struct run *run, struct value object, struct value name) {
    struct value found = value_of_kind(VALUE_UNDEFINED);
    if (fail_if_undefined(run, object)) return found;
    /* A dict's own keys may begin with "__"; its attributes would be refused. */
    const struct value *member =
        object.kind == VALUE_DICT && !method_find(VALUE_DICT, name.text.bytes, name.text.length)
            ? dict_find_text(object.dict, name.text.bytes, name.text.length)
            : NULL;
    if (member) return *member;
    if (find_attribute(run, &found, object, name)) return found;
    if (object.kind == VALUE_FUNCTION || object.kind == VALUE_METHOD)
        return run_fail(run, "attributes of a %s are not understood", value_type_name(object));
    return undefined_attribute(run, object, name);
}

struct value evaluate_item(struct run *run, struct value object, struct value key) {
    struct value found = value_of_kind(VALUE_UNDEFINED);
    if (fail_if_undefined(run, object)) return found;
    if (key.kind == VALUE_SLICE) return evaluate_slice(run, object, key.slice);
    if (object.kind == VALUE_DICT) {
        if (key.kind == VALUE_LIST || key.kind == VALUE_DICT) /* not hashable: no such item */
            return value_undefined(run, "dict object has no such element");
        const struct value *member = dict_find(run, object.dict, key);
        if (member) return *member;
    } else if (value_has_items(object) && value_is_integer(key)) {
        int64_t length, index = value_as_integer(key);
        value_length(object, &length);
        run_work_text(run, object.kind == VALUE_TEXT ? object.text.length : 0);
        if (index < 0) index += length;
        if (index >= 0 && index < length) return value_element(run, object, index);
        return value_undefined(run, "%s object has no element %lld", value_type_name(object),
                               (long long)value_as_integer(key));
    }
    if (key.kind != VALUE_TEXT)
        return value_undefined(run, "'%s object' has no such element", value_type_name(object));
    if (find_attribute(run, &found, object, key)) return found;
    return undefined_attribute(run, object, key);
}
