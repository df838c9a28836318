"""What is made of samples over time: buckets, plots, gaps. Pure, on NumPy arrays; times are µs since 1970, UTC."""
