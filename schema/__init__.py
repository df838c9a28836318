"""The contract: topics, message types, quarantine reasons and the SQL schema. Imports nothing of ours."""
