"""What computes: device and precision, memory, GPUs, and the watch over hung trainings."""
