"""PostgreSQL by libpq itself, so that the show needs no package of Python's."""

import ctypes

LIBPQ = ctypes.CDLL("libpq.so.5")
for name, result in (("PQconnectdb", ctypes.c_void_p), ("PQerrorMessage", ctypes.c_char_p),
                     ("PQexecParams", ctypes.c_void_p), ("PQgetvalue", ctypes.c_char_p)):
    getattr(LIBPQ, name).restype = result
CONNECTED, COMMAND_OK, ROWS = 0, 1, 2


class Error(Exception):
    """What the server, or libpq, said; never with a password."""


class Connection:
    """One connection, for one thread at a time."""

    def __init__(self, url):
        self.handle = ctypes.c_void_p(LIBPQ.PQconnectdb(url.encode()))
        if LIBPQ.PQstatus(self.handle) != CONNECTED:
            words = self.words()
            self.close()
            raise Error(words)

    def words(self):
        return LIBPQ.PQerrorMessage(self.handle).decode(errors="replace").strip()

    def query(self, sql, *values):
        """Rows of texts and Nones. $1, $2 … stand for values, which are sent as texts."""
        texts = [None if value is None else str(value).encode() for value in values]
        result = ctypes.c_void_p(LIBPQ.PQexecParams(
            self.handle, sql.encode(), len(texts), None,
            (ctypes.c_char_p * len(texts))(*texts), None, None, 0))
        try:
            if LIBPQ.PQresultStatus(result) not in (COMMAND_OK, ROWS):
                raise Error(self.words())
            return [
                [None if LIBPQ.PQgetisnull(result, row, column)
                 else LIBPQ.PQgetvalue(result, row, column).decode()
                 for column in range(LIBPQ.PQnfields(result))]
                for row in range(LIBPQ.PQntuples(result))
            ]
        finally:
            LIBPQ.PQclear(result)

    def close(self):
        LIBPQ.PQfinish(self.handle)
        self.handle = None


def array(values):
    """text[] as PostgreSQL reads it."""
    def item(value):
        if value is None:
            return "null"
        return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "{" + ",".join(map(item, values)) + "}"
