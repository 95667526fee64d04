"""A gateway in network namespaces with real clients and a real server: `nfqdpi lab`, and the kernel tests' ground."""
