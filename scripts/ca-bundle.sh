#!/usr/bin/env bash
# Prints the certificate bundle that this machine wants to be used for downloads, or nothing if it has no
# wish of its own. Builds inside containers need it where a proxy signs with a certificate of its own.
set -euo pipefail

for file in "${PIP_CERT:-}" "${REQUESTS_CA_BUNDLE:-}" "${SSL_CERT_FILE:-}"; do
    if [ -f "$file" ]; then
        echo "$file"
        exit 0
    fi
done
bundle=/etc/ssl/certs/ca-certificates.crt
if [ -f "$bundle" ] && [ -n "$(ls -A /usr/local/share/ca-certificates 2>/dev/null)" ]; then
    echo "$bundle"
fi
