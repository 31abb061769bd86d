"""ElevenLabs' stock voices by their names: its sockets know ids only."""

from __future__ import annotations

import re

__all__ = ["resolve_voice_id"]

_ID = re.compile(r"[A-Za-z0-9]{20}")

_NAMED = {
    "adam": "pNInz6obpgDQGcFmaJgB",
    "antoni": "ErXwobaYiN019PkySvjV",
    "arnold": "VR6AewLTigWG4xSOukaG",
    "bella": "EXAVITQu4vr4xnSDxMaL",  # the id is called Sarah nowadays
    "bill": "pqHfZKP75CvOlQylNhV4",
    "brian": "nPczCjzI2devNBz1zQrb",
    "callum": "N2lVS1w4EtoT3dr4eOWO",
    "charlie": "IKne3meq5aSn9XLyUdCD",
    "charlotte": "XB0fDUnXU5powFXDhCwa",
    "clyde": "2EiwWnXFnvU5JabPnv8n",
    "daniel": "onwK4e9ZLuTAKqWW03F9",
    "dave": "CYw3kZ02Hs0563khs1Fj",
    "domi": "AZnzlk1XvdvUeBnXmlld",
    "dorothy": "ThT5KcBeYPX3keUQqHPh",
    "drew": "29vD33N1CtxCmqQRPOHJ",
    "elli": "MF3mGyEYCl7XYWbV9V6O",
    "emily": "LcfcDJNUP1GQjkzn1xUU",
    "ethan": "g5CIjZEefAph4nQFvHAz",
    "fin": "D38z5RcWu1voky8WS1ja",
    "freya": "jsCqWAovK2LkecY7zXl4",
    "george": "JBFqnCBsd6RMkjVDRZzb",
    "gigi": "jBpfuIE2acCO8z3wKNLl",
    "giovanni": "zcAOhNBS3c14rBihAFp1",
    "glinda": "z9fAnlkpzviPz146aGWa",
    "grace": "oWAxZDx7w5VEj9dCyTzz",
    "harry": "SOYHLrjzK2X1ezoPC6cr",
    "james": "ZQe5CZNOzWyzPSCn5a3c",
    "jeremy": "bVMeCyTHy58xNoL34h3p",
    "jessie": "t0jbNlBVZ17f02VDIeMI",
    "joseph": "Zlb1dXrM653N07WRdFW3",
    "josh": "TxGEqnHWrfWFTfGW9XjX",
    "liam": "TX3LPaxmHKxFdv7VOQHJ",
    "lily": "pFZP5JQG7iQjIQuC4Bku",
    "matilda": "XrExE9yKIg1WjnnlVkGX",
    "matthew": "Yko7PKHZNXotIFUBG7I9",
    "michael": "flq6f7yk4E4fJM5XTYuZ",
    "mimi": "zrHiDhphv9ZnVXBqCLjz",
    "nicole": "piTKgcLEGmPE4e6mEKli",
    "patrick": "ODq5zmih8GrVes37Dizd",
    "paul": "5Q0t7uMcjvnagumLfvZi",
    "rachel": "21m00Tcm4TlvDq8ikWAM",
    "ryan": "wViXBPUzp2ZZixB1xQuM",
    "sam": "yoZ06aMxZJJ28mfd3POQ",
    "sarah": "EXAVITQu4vr4xnSDxMaL",
    "serena": "pMsXgVXv3BLzUgSXRplE",
    "thomas": "GBv7mTt0atIp3Br8iCZE",
}


def resolve_voice_id(voice: str) -> str:
    """The id of a stock voice by its name, in any case; whatever else is taken for an id as it is."""
    return voice if _ID.fullmatch(voice) else _NAMED.get(voice.lower(), voice)
