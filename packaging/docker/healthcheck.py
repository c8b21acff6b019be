"""Exit with 0 if the CAS in this container can serve requests: it is asked on its own port."""

import http.client
import ssl
import sys

context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE  # nothing is told to it, and nothing believed but that it answers
try:
    connection = http.client.HTTPSConnection("127.0.0.1", 8081, timeout=4, context=context)
    connection.request("GET", "/readyz")
    sys.exit(connection.getresponse().status != 200)
except (OSError, http.client.HTTPException):
    sys.exit(1)
