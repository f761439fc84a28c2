#!/bin/sh
# Writes, on stdout, a C file that holds the given persona files as text:
# struct persona_file { const char *name, *text; } persona_files[], ended by a NULL name.
echo 'struct persona_file { const char *name; const char *text; };'
echo 'extern const struct persona_file persona_files[];'
echo 'const struct persona_file persona_files[] = {'
for f in "$@"; do
    name=$(basename "$f" .yaml)
    printf '{"%s",\n' "$name"
    sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/"/' -e 's/$/\\n"/' "$f"
    echo '},'
done
echo '{0, 0}};'
