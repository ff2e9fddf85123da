#!/bin/sh
# Reads secrets from files: NAME_FILE=/run/secrets/x becomes NAME=<its content>. LIVEKIT_KEYS_FILE is
# the LiveKit server's own key file, one line of "key: secret".
set -eu

for name in $(env | sed -n 's/^\([A-Z_]*\)_FILE=.*/\1/p'); do
    eval "file=\$${name}_FILE"
    unset "${name}_FILE"
    if [ ! -r "$file" ]; then
        echo "entrypoint: can't read $file for $name (owner and mode of the secret?)" >&2
        exit 1
    fi
    if [ "$name" = LIVEKIT_KEYS ]; then
        LIVEKIT_API_KEY=$(sed -n '1s/^\([^:]*\):.*/\1/p' "$file")
        LIVEKIT_API_SECRET=$(sed -n '1s/^[^:]*: *\(.*\)$/\1/p' "$file")
        export LIVEKIT_API_KEY LIVEKIT_API_SECRET
    else
        eval "$name=\$(cat \"\$file\")"
        export "${name?}"
    fi
done
exec "$@"
