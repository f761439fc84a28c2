/* main: the program's entry. */
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "--version")) {
        puts("kvetch " KVETCH_VERSION);
        return 0;
    }
    fputs("kvetch: no model: name one with -m FILE\n", stderr);
    return 3;
}
