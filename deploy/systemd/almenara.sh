#!/bin/sh
# `sudo almenara COMMAND`: as the services' user, with their settings, and the broker's role `operator`.
set -eu
etc=/etc/almenara
set -a
. "$etc/almenara.env"
ALMENARA_DATABASE_URL=$(cat "$etc/database.url")
# Before `almenara acl` has made the roles there is none, and that command needs none.
if [ -r "$etc/acl/operator.url" ]; then ALMENARA_REDIS_URL=$(cat "$etc/acl/operator.url"); fi
set +a
# The roles' passwords are root's alone.
if [ "${1-}" = acl ]; then exec /opt/almenara/bin/almenara "$@"; fi
exec runuser --user almenara -- /opt/almenara/bin/almenara "$@"
