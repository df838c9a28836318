"""The gateway's side of enrollment: docs/enrollment.md.

service    takes requests from MQTT within limits, sends replies, and goes on with handshakes that others moved on
steps      handles one request in one transaction: facts → decision → stored rows and reply
decisions  is the state machine, pure
handshake  is the cryptography, pure
requests   decodes requests, pure
store      reads and writes the rows
refusals   counts refused requests, and tells the audit trail
"""
