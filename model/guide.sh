#!/bin/sh
# guide.sh CHECKSUM [FILE]: writes, on stdout, an assembler file that holds FILE (none: nothing) and its XXH3 for model/guide.c.
# CHECKSUM is the program built from model/checksum/checksum.c; what it says of FILE must be what FILE.xxh says.
sum=0000000000000000
if [ -n "$2" ]; then
    sum=$("$1" "$2") || exit 1
    expected=$(cat "$2.xxh") || exit 1
    if [ "$sum" != "$expected" ]; then
        echo "$2 is damaged: its checksum is $sum, and $2.xxh says $expected. Restore it (git checkout $2), or make it anew (make guide)." >&2
        exit 1
    fi
fi
# Whole pages of its own: it is used where the program is mapped, and its residency is measured there.
echo '    .section .rodata'
echo '    .balign 4096'
echo '    .globl guide_start, guide_end, guide_sum'
echo 'guide_start:'
[ -z "$2" ] || echo "    .incbin \"$2\""
echo 'guide_end:'
echo '    .balign 4096'
echo 'guide_sum:'
echo "    .quad 0x$sum"
echo '    .section .note.GNU-stack,"",@progbits'
