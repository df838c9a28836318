"""Takes history in from files: reads tables, finds devices and channels in their headings, and stores their frames."""
