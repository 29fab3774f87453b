#!/bin/sh
# A copy of everything that a lost machine needs, taken while it works: backup.sh STATE_DIR TARGET
# The order matters. The record is copied before the broker's file and the pictures, so that it never knows more
# than they do: a desk catches up with a broker that is ahead of it. Pictures come last, since each is stored
# before the broker hears of it. Copies of the settings in /etc/almenara are yours to make.
set -eu
[ $# -eq 2 ] || { echo "usage: backup.sh STATE_DIR TARGET" >&2; exit 2; }
state=$1
target=$2
# Two copies in one folder would be neither: a record of today beside pictures that only one of both has.
[ ! -e "$target" ] || { echo "backup.sh: $target is there already: name a folder that is not" >&2; exit 2; }
umask 077
mkdir -p "$target"
python=${ALMENARA_PYTHON:-/opt/almenara/bin/python}
[ -x "$python" ] || python=python3

# The record, by SQLite's own online backup: a plain copy of a file that is written to can be torn.
record=$state/desk.db
[ -e "$record" ] || record=$state/desk/desk.db
if [ -e "$record" ]; then
  copy=$target/${record#"$state"/}
  mkdir -p "$(dirname "$copy")"
  "$python" -c '
import sqlite3, sys
source, target = (sqlite3.connect(path) for path in sys.argv[1:])
with target:
    source.backup(target)
' "$record" "$copy"
fi

# The broker's append-only file. It only grows, so a copy of it ends in whole commands and perhaps a part of one,
# which the server leaves out when it starts (aof-load-truncated). A rewrite that ends meanwhile replaces the files:
# then the manifest, which names them, differs, and all is copied again.
broker=$state/broker/appendonlydir
if [ -d "$broker" ]; then
  mkdir -p "$target/broker/appendonlydir"
  copied=no
  for try in 1 2 3 4 5; do
    rm -f "$target"/broker/appendonlydir/*
    before=$(cat "$broker"/*.manifest)
    if cp -p "$broker"/* "$target/broker/appendonlydir/" \
      && [ "$before" = "$(cat "$target"/broker/appendonlydir/*.manifest)" ] \
      && [ "$before" = "$(cat "$broker"/*.manifest)" ]; then copied=yes; break; fi
    sleep "$try"
  done
  [ $copied = yes ] || { echo "the broker's file is replaced faster than it can be copied" >&2; exit 1; }
fi

for each in users.json web.secret engines models acl rejected images; do
  # Pictures never change once they have their names, and half-written ones (*.tmp) are nobody's.
  if [ -e "$state/$each" ]; then cp -rp "$state/$each" "$target/"; fi
done
find "$target" -name '*.tmp' -delete
sync -f "$target" 2>/dev/null || sync
