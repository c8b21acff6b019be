"""Which value goes where: variables, parameters of the enclave, templates, Helm values."""
