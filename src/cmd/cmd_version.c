#include "cmd/commands.h"

#include <stdio.h>

#include "base/version.h"

enum status cmd_version(int argc, char **argv) {
    (void)argc;
    (void)argv;
    printf("apriel-tool %s\n", VERSION);
    return STATUS_OK;
}
