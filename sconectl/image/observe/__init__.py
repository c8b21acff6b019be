"""Which files a program uses: from a log of strace, or watched while it runs."""
