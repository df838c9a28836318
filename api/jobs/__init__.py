"""Work that would keep the API from answering anybody else: it is done in a process of its own."""
