#!/bin/sh
# Writes, on stdout, a C file that holds the given persona files as text: the table of config/persona.h.
echo '#include "config/persona.h"'
echo 'const struct persona_file persona_files[] = {'
for f in "$@"; do
    name=$(basename "$f" .yaml)
    printf '{"%s",\n' "$name"
    sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/?/\\?/g' -e 's/^/"/' -e 's/$/\\n"/' "$f"
    echo '},'
done
echo '{0, 0}};'
