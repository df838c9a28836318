"""What routes take and give, one module a subject: bodies, answers, and an example of each."""
