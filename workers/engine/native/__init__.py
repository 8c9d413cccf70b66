"""The native engine: one C++ library that runs any cell's tape, forward and backward."""
