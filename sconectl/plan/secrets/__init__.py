"""Which secrets a manifest names, and which session defines or imports each."""
