"""The protected file system of the `sim` toolchain: index, measurement and sealed regions.

Runs in two places: when an image is built, and inside the image before the program starts. Therefore it needs
nothing but the standard library and `cryptography`.
"""
