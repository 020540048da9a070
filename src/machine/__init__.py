"""Look at the machine: its devices, memory, processes and network."""
