/* What `data` reads, cut into records: the first byte chooses the kind (0 to 4: by name, text,
 * lines, JSON, by name of a .json file); the rest is the file, plain or compressed. Every part must
 * be UTF-8 within the file's own bytes. */
#include <stdlib.h>

#include "base/utf8.h"
#include "data/input.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct input input;
    size_t where, total = 0;
    enum input_kind kind = size && bytes[0] < INPUT_ARRAY ? (enum input_kind)bytes[0] : INPUT_JSON;
    const char *path = fuzz_file(bytes + (size > 0), size - (size > 0));
    enum status status = input_open(&input, path, kind);
    while (!status && total < 1 << 24) {
        const char *part;
        size_t length;
        uint64_t number = input.number;
        status = input_next(&part, &length, &input);
        if (status || !part) break;
        if (input.number <= number || !utf8_valid(part, length, &where)) abort();
        total += length;
    }
    input_close(&input);
    return 0;
}
