/* The compiled twin of the plain case of http_head.py: judge, scan and cut a block of fields in one pass.
 *
 * It knows the usual heads only. Whatever is not plain (a framing or hop-by-hop field that is rare, a field that comes
 * twice, a name with an underscore that stands for one of ours, anything the grammar forbids, anything over a limit)
 * gives None, and the Python code judges and says what is wrong. So nothing is accepted here that is not accepted there:
 * tests/unit/router/test_head_twins.py holds the two equal on mutated heads.
 *
 * Grammar: RFC 9112 section 5 without obs-fold, CRLF only; values are HTAB, SP, VCHAR and obs-text.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <string.h>

#define MOST_CUTS 24
#define LONGEST_NAME 20 /* of a field that matters */

enum { TOKEN = 1, VALUE = 2, HOST = 4, ID = 8 };
static unsigned char kind[256];

typedef struct {
    const char *at;
    Py_ssize_t size;
} Span;

enum {
    F_HOST, F_CONNECTION, F_LENGTH, F_CODING, F_FOR, F_PROTO, F_PORT, F_ID, F_START, F_VIA, F_DATE, F_KEEP_ALIVE,
    F_COUNT, /* below are fields that make a head not plain */
    F_RARE
};

typedef struct {
    const char *name;
    unsigned char size, field, request, answer;
} Known;

static const Known known[] = {
    {"host", 4, F_HOST, 1, 0},
    {"connection", 10, F_CONNECTION, 1, 1},
    {"content-length", 14, F_LENGTH, 1, 1},
    {"transfer-encoding", 17, F_CODING, 1, 1},
    {"x-forwarded-for", 15, F_FOR, 1, 0},
    {"x-forwarded-proto", 17, F_PROTO, 1, 0},
    {"x-forwarded-port", 16, F_PORT, 1, 0},
    {"x-request-id", 12, F_ID, 1, 0},
    {"x-request-start", 15, F_START, 1, 0},
    {"via", 3, F_VIA, 1, 1},
    {"date", 4, F_DATE, 0, 1},
    {"keep-alive", 10, F_KEEP_ALIVE, 0, 1},
    {"keep-alive", 10, F_RARE, 1, 0},
    {"te", 2, F_RARE, 1, 1},
    {"expect", 6, F_RARE, 1, 0},
    {"upgrade", 7, F_RARE, 1, 1},
    {"forwarded", 9, F_RARE, 1, 0},
    {"http2-settings", 14, F_RARE, 1, 0},
    {"proxy-connection", 16, F_RARE, 1, 1},
    {"proxy-authorization", 19, F_RARE, 1, 1},
    {"x-forwarded-host", 16, F_RARE, 1, 0},
    {"x-forwarded-ssl", 15, F_RARE, 1, 0},
    {"x-forwarded-scheme", 18, F_RARE, 1, 0},
    {"x-forwarded-protocol", 20, F_RARE, 1, 0},
    {NULL, 0, 0, 0, 0},
};

/* Which of `known` have a name of this size and first letter: most names are dismissed by one look here. */
static unsigned char first_with[LONGEST_NAME + 1][26];

typedef struct {
    Span found[F_COUNT];
    Span cut[MOST_CUTS];
    int cuts;
} Scan;

static int lookup(const char *name, Py_ssize_t size, int request, int *underscore)
{
    char low[LONGEST_NAME];
    unsigned char first = (unsigned char)name[0] | 0x20;
    const Known *k;
    Py_ssize_t i;

    *underscore = 0;
    if (size > LONGEST_NAME || first < 'a' || first > 'z' || !first_with[size][first - 'a'])
        return -1;
    for (i = 0; i < size; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c >= 'A' && c <= 'Z')
            c |= 0x20;
        else if (c == '_' && request) {
            c = '-';
            *underscore = 1;
        }
        low[i] = (char)c;
    }
    for (k = known; k->name; k++)
        if (k->size == size && (request ? k->request : k->answer) && memcmp(k->name, low, (size_t)size) == 0)
            return k->field;
    return -1;
}

/* From the LF before the first field to the end of the empty line. 1: plain; 0: not. */
static int scan(const char *block, Py_ssize_t size, int request, Py_ssize_t most_fields, Py_ssize_t most_line,
                Py_ssize_t most_name, Scan *out)
{
    const char *p = block, *end = block + size;
    Py_ssize_t fields = 0;

    memset(out->found, 0, sizeof out->found);
    out->cuts = 0;
    if (size < 3 || *p != '\n')
        return 0;
    for (;;) { /* p is at the LF that ends the line before */
        const char *name = p + 1, *value, *last, *start = p;
        int field, underscore;

        p = name;
        if (end - p == 2)
            return p[0] == '\r' && p[1] == '\n';
        while (p < end && (kind[(unsigned char)*p] & TOKEN))
            p++;
        if (p == name || p >= end || *p != ':' || p - name > most_name)
            return 0;
        field = lookup(name, p - name, request, &underscore);
        value = ++p;
        while (p < end && (kind[(unsigned char)*p] & VALUE))
            p++;
        if (end - p < 3 || p[0] != '\r' || p[1] != '\n' || p - name > most_line || ++fields > most_fields)
            return 0;
        last = p;
        p++; /* at the LF */
        if (field < 0)
            continue;
        if (field == F_RARE || underscore || out->found[field].at || out->cuts == MOST_CUTS)
            return 0;
        while (value < last && (*value == ' ' || *value == '\t'))
            value++;
        while (last > value && (last[-1] == ' ' || last[-1] == '\t'))
            last--;
        out->found[field].at = value;
        out->found[field].size = last - value;
        if (field == F_HOST || field == F_DATE)
            continue;
        out->cut[out->cuts].at = start;
        out->cut[out->cuts++].size = p - start; /* the unit LF name: value CR */
    }
}

/* The block without what was cut and without its last LF CR LF. */
static PyObject *rest_of(const char *block, Py_ssize_t size, const Scan *s)
{
    Py_ssize_t total = size - 3;
    PyObject *bytes;
    char *to;
    const char *from = block;
    int i;

    for (i = 0; i < s->cuts; i++)
        total -= s->cut[i].size;
    bytes = PyBytes_FromStringAndSize(NULL, total);
    if (!bytes)
        return NULL;
    to = PyBytes_AsString(bytes);
    for (i = 0; i < s->cuts; i++) {
        size_t n = (size_t)(s->cut[i].at - from);
        memcpy(to, from, n);
        to += n;
        from = s->cut[i].at + s->cut[i].size;
    }
    memcpy(to, from, (size_t)(block + size - 3 - from));
    return bytes;
}

/* -1: absent; -2: not plain */
static long long length_of(const Span *span)
{
    long long n = 0;
    Py_ssize_t i;

    if (!span->at)
        return -1;
    if (span->size < 1 || span->size > 18)
        return -2;
    for (i = 0; i < span->size; i++) {
        char c = span->at[i];
        if (c < '0' || c > '9')
            return -2;
        n = n * 10 + (c - '0');
    }
    return n;
}

static int is_word(const Span *span, const char *word, Py_ssize_t size)
{
    Py_ssize_t i;

    if (span->size != size)
        return 0;
    for (i = 0; i < size; i++) {
        unsigned char c = (unsigned char)span->at[i];
        if (c >= 'A' && c <= 'Z')
            c |= 0x20;
        if (c != (unsigned char)word[i])
            return 0;
    }
    return 1;
}

/* 0: none, 1: close, 2: keep-alive, -1: not plain */
static int connection_of(const Span *span)
{
    if (!span->at)
        return 0;
    if (is_word(span, "close", 5))
        return 1;
    if (is_word(span, "keep-alive", 10))
        return 2;
    return -1;
}

static int all_of(const Span *span, int bit)
{
    Py_ssize_t i;

    for (i = 0; i < span->size; i++)
        if (!(kind[(unsigned char)span->at[i]] & bit))
            return 0;
    return 1;
}

/* A name or IPv4 address, and perhaps a port; brackets are left to Python. */
static int plain_host(const Span *span)
{
    Span name = *span;
    Py_ssize_t i;

    for (i = 0; i < span->size && span->at[i] != ':'; i++)
        ;
    name.size = i;
    if (i == 0 || !all_of(&name, HOST) || span->size - i > 6)
        return 0;
    for (i++; i < span->size; i++)
        if (span->at[i] < '0' || span->at[i] > '9')
            return 0;
    return 1;
}

static PyObject *bytes_or_none(const Span *span)
{
    if (!span->at)
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize(span->at, span->size);
}

PyDoc_STRVAR(request_doc,
"scan_request(block, most_fields, most_line, most_name, /)\n--\n\n"
"(rest, host, length, connection, request_id, forwarded_for, proto, port, via) of a plain block; None of any other.");

static PyObject *scan_request(PyObject *self, PyObject *args)
{
    char *block;
    PyObject *given;
    Py_ssize_t size, most_fields, most_line, most_name;
    Scan s;
    long long length;
    int connection;

    (void)self;
    if (!PyArg_ParseTuple(args, "Snnn", &given, &most_fields, &most_line, &most_name))
        return NULL;
    if (PyBytes_AsStringAndSize(given, &block, &size) < 0)
        return NULL;
    if (!scan(block, size, 1, most_fields, most_line, most_name, &s))
        Py_RETURN_NONE;
    length = length_of(&s.found[F_LENGTH]);
    connection = connection_of(&s.found[F_CONNECTION]);
    if (length == -2 || connection < 0 || s.found[F_CODING].at || !s.found[F_HOST].at || !plain_host(&s.found[F_HOST]))
        Py_RETURN_NONE;
    if (s.found[F_ID].at && (s.found[F_ID].size < 20 || s.found[F_ID].size > 200 || !all_of(&s.found[F_ID], ID)))
        s.found[F_ID].at = NULL;
    return Py_BuildValue("(NNLiNNNNN)", rest_of(block, size, &s), bytes_or_none(&s.found[F_HOST]), length, connection,
                         bytes_or_none(&s.found[F_ID]), bytes_or_none(&s.found[F_FOR]), bytes_or_none(&s.found[F_PROTO]),
                         bytes_or_none(&s.found[F_PORT]), bytes_or_none(&s.found[F_VIA]));
}

PyDoc_STRVAR(answer_doc,
"scan_answer(block, most_line, /)\n--\n\n"
"(rest, length, chunked, connection, has_date, via, keep_alive) of a plain block; None of any other.");

static PyObject *scan_answer(PyObject *self, PyObject *args)
{
    char *block;
    PyObject *given;
    Py_ssize_t size, most_line;
    Scan s;
    long long length;
    int connection, chunked;

    (void)self;
    if (!PyArg_ParseTuple(args, "Sn", &given, &most_line))
        return NULL;
    if (PyBytes_AsStringAndSize(given, &block, &size) < 0)
        return NULL;
    if (!scan(block, size, 0, PY_SSIZE_T_MAX, most_line, most_line, &s))
        Py_RETURN_NONE;
    length = length_of(&s.found[F_LENGTH]);
    connection = connection_of(&s.found[F_CONNECTION]);
    chunked = s.found[F_CODING].at != NULL;
    if (length == -2 || connection < 0 || (chunked && (length != -1 || !is_word(&s.found[F_CODING], "chunked", 7))))
        Py_RETURN_NONE;
    return Py_BuildValue("(NLiiiNN)", rest_of(block, size, &s), length, chunked, connection, s.found[F_DATE].at != NULL,
                         bytes_or_none(&s.found[F_VIA]), bytes_or_none(&s.found[F_KEEP_ALIVE]));
}

static PyMethodDef methods[] = {
    {"scan_request", scan_request, METH_VARARGS, request_doc},
    {"scan_answer", scan_answer, METH_VARARGS, answer_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "router._http_head", "The compiled twin of http_head.py's plain case.", -1, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__http_head(void)
{
    static const char tokens[] = "!#$%&'*+-.^_`|~", hosts[] = "._~!$&'()*+;=%-", ids[] = "+/=-";
    const Known *k;
    const char *c;
    int i;

    for (i = 0; i < 256; i++) {
        int letter = (i >= '0' && i <= '9') || (i >= 'a' && i <= 'z') || (i >= 'A' && i <= 'Z');
        kind[i] = (unsigned char)(letter ? TOKEN | HOST | ID : 0);
        if (i == '\t' || (i >= 0x20 && i <= 0x7e) || i >= 0x80)
            kind[i] |= VALUE;
    }
    for (c = tokens; *c; c++)
        kind[(unsigned char)*c] |= TOKEN;
    for (c = hosts; *c; c++)
        kind[(unsigned char)*c] |= HOST;
    for (c = ids; *c; c++)
        kind[(unsigned char)*c] |= ID;
    for (k = known; k->name; k++)
        first_with[k->size][k->name[0] - 'a'] = 1;
    return PyModule_Create(&module);
}
