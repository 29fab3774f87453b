#!/bin/sh
# `sudo almenara COMMAND`: as the services' user, with their settings, and the broker's role
# `operator`.
set -eu
# As the services have it: workers of GPUs read what the group may.
umask 027
etc=/etc/almenara
set -a
. "$etc/almenara.env"
ALMENARA_DATABASE_URL=$(cat "$etc/database.url")
role=operator
# A console acts for its department, and an operator does not: `almenara console D` has that department's role.
if [ "${1-}" = console ] && [ -r "$etc/acl/console-${2-}.url" ]; then role=console-$2; fi
# Before `almenara acl` has made the roles there is none, and that command needs none.
if [ -r "$etc/acl/$role.url" ]; then ALMENARA_REDIS_URL=$(cat "$etc/acl/$role.url"); fi
# As the unit has it: `almenara webhooks --dead` and `replay --webhook` ask the same file.
hooks=$etc/webhooks/webhooks.toml
if [ -e "$hooks" ]; then ALMENARA_WEBHOOKS=${ALMENARA_WEBHOOKS:-$hooks}; fi
set +a
# The roles' passwords are root's alone.
if [ "${1-}" = acl ]; then exec /opt/almenara/bin/almenara "$@"; fi
exec runuser --user almenara -- /opt/almenara/bin/almenara "$@"
