#!/bin/sh
# Who may include whom. Prints each include that breaks the order and fails if there is one.
cd "$(dirname "$0")/.." || exit 1
bad=0
complain() { echo "layers: $1"; bad=1; }

# folder: the folders it may include from (itself always)
allowed() {
    case $1 in
    config) echo "config" ;;
    kv) echo "config kv" ;;
    model) echo "config kv model" ;;
    model/train) echo "config model model/train" ;; # the trainer: nobody but the tests sees it
    model/checksum) echo "config" ;; # a program of the build
    ui) echo "config ui" ;;
    app) echo "config kv model ui app" ;;
    tests/plugins) echo "kv" ;; # link nothing of the program
    tests) echo "config kv model model/train ui app tests" ;;
    esac
}
for dir in config kv model model/checksum model/train ui app tests tests/plugins; do
    for f in "$dir"/*.c "$dir"/*.h; do
        [ -e "$f" ] || continue
        for inc in $(sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$f"); do
            case $inc in
            */*) from=${inc%/*} ;;
            *) complain "$f includes \"$inc\": write the path from the root, as \"$dir/$inc\""; continue ;;
            esac
            case " $(allowed "$dir") " in
            *" $from "*) ;;
            *) complain "$f includes $inc: $dir/ may not see $from/" ;;
            esac
            case $dir:$inc in
            model:kv/kv.h | app:kv/kv.h) ;;
            model:kv/* | app:kv/*) complain "$f includes $inc: $dir/ sees the cache through kv/kv.h alone" ;;
            app:model/engine.h) ;;
            app:model/*) complain "$f includes $inc: app/ sees the engine through model/engine.h alone" ;;
            app:ui/ui.h) ;;
            app:ui/*) complain "$f includes $inc: app/ sees the screen through ui/ui.h alone" ;;
            esac
        done
    done
done

# library header: the only files that may include it (a pattern of grep -E)
only() {
    for f in $(grep -lE "^[[:space:]]*#[[:space:]]*include[[:space:]]*<$1>" */*.c */*.h */*/*.c */*/*.h 2>/dev/null); do
        echo "$f" | grep -qE "^($2)\$" || complain "$f includes <$1>: only $2 may"
    done
}
only '(ncursesw/)?(curses|ncurses)\.h' 'ui/.*'
only 'readline/.*\.h' 'ui/.*|tests/test_corpus\.c' # asks which keys are bound
only 'cblas\.h' 'model/blas\.c'
only 'sqlite3\.h' 'app/store[a-z_]*\.c'
only 'curl/curl\.h' 'app/remote\.c'
only 'yaml\.h' 'config/yaml\.c'
only 'pcre2\.h' 'model/pretokenizer\.c'
only 'utf8proc\.h' 'config/utf8\.c'
only '(cjson/)?cJSON\.h' 'app/json\.c|tests/test_(template|script|commands)\.c'
only 'md4c\.h' 'ui/markdown\.c'
only '(xxhash)\.h' 'config/hash\.c'
[ $bad = 0 ] && echo "layers: in order"
exit $bad
