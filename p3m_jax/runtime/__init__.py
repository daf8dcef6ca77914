"""The machine that the program runs on: processes, devices, compiled programs, memory."""
