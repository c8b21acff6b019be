"""The toolchain `sim`: real encryption, measurement and attestation, and no hardware that vouches for them."""
