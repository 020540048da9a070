"""The machine: devices, memory, processes, network."""
