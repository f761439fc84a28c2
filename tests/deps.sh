#!/bin/sh
# Installs the named Debian packages that are missing; does nothing when all are there.
# Uses sudo where the user is not root. Never reads standard input.
missing=
for p in "$@"; do
    case $(dpkg-query -W -f '${Status}' "$p" 2>/dev/null) in
    *'ok installed') ;;
    *) missing="$missing $p" ;;
    esac
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ]; then run=; else run=sudo; fi
echo "deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
$run apt-get update -q && $run env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
