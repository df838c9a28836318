"""Enrollment, the gateway's side: docs/enrollment.md.

service    MQTT: requests in, limits, replies out; what operators and the administration have done meanwhile
steps      one request, one transaction: facts → decision → what is stored and replied
decisions  the state machine, pure
handshake  the cryptography, pure
store      the rows
refusals   what was refused: counted, audited
"""
