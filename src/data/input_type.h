/* What a file is, by its name and by its first bytes. */
#ifndef DATA_INPUT_TYPE_H
#define DATA_INPUT_TYPE_H

#include "data/input.h"

/* Refuses, with what to do, what is no UTF-8 text: UTF-16 and the formats that data sets come in.
 * `bytes` [length] is the beginning, decompressed. */
enum status input_check_type(const char *path, const char *bytes, size_t length) STATUS_CHECKED;

#endif
