#ifndef TEMPLATE_LIMITS_H
#define TEMPLATE_LIMITS_H

/* What a hostile template may use, each far beyond what any chat needs. */
enum {
    TEMPLATE_TEXT_LIMIT = 4 << 20,     /* bytes of a template */
    TEMPLATE_NESTING_LIMIT = 100,      /* of expressions and statements in one another */
    TEMPLATE_DEPTH_LIMIT = 900,        /* of nodes under evaluation, calls of macros included */
    TEMPLATE_MEMORY_LIMIT = 256 << 20, /* bytes of a rendering, beside its output */
    TEMPLATE_OUTPUT_LIMIT = 64 << 20,  /* bytes */
    TEMPLATE_STEP_LIMIT = 20000000,    /* nodes, list items and pieces of 16 bytes of text */
};

#endif
