/* The compiled twin of plain_head.py: plain heads judged, understood, cut and written anew in one pass.
 *
 * It knows the usual heads only. Whatever is not plain (a framing or hop-by-hop field that is rare, a field that comes
 * twice, a name with an underscore that stands for one of ours, anything the grammar forbids, anything over a limit)
 * gives None, and head_judge.py judges and says what is wrong. So nothing is accepted here that is not accepted there:
 * tests/unit/router/head_fuzz.py holds the two equal on mutated heads.
 *
 * Grammar: RFC 9112 section 5 without obs-fold, CRLF only; values are HTAB, SP, VCHAR and obs-text.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <string.h>

#define MOST_CUTS 24
#define LONGEST_NAME 20 /* of a field that matters */

enum { TOKEN = 1, VALUE = 2, HOST = 4, ID = 8, TARGET = 16, VISIBLE = 32 };
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
    const char *end; /* behind the empty line */
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

/* From the LF before the first field, which is there, to the end of the empty line. 1: plain; 0: not, or not whole. */
static int scan(const char *block, const char *end, int request, Py_ssize_t most_fields, Py_ssize_t most_line,
                Py_ssize_t most_name, Scan *out)
{
    const char *p = block;
    Py_ssize_t fields = 0;

    memset(out->found, 0, sizeof out->found);
    out->cuts = 0;
    for (;;) { /* p is at the LF that ends the line before */
        const char *name = p + 1, *value, *last, *start = p;
        int field, underscore;

        p = name;
        if (end - p < 2)
            return 0;
        if (*p == '\r') {
            out->end = p + 2;
            return p[1] == '\n';
        }
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

/* What is written of a head: enough room is made first, so no step looks for it. */
static char *put(char *to, const char *from, Py_ssize_t size)
{
    memcpy(to, from, (size_t)size);
    return to + size;
}

#define PUT(to, text) put(to, text, sizeof text - 1)

static char *put_span(char *to, Span span)
{
    return put(to, span.at, span.size);
}

static char *put_number(char *to, long long n)
{
    char digits[20];
    int i = 20;

    do
        digits[--i] = (char)('0' + n % 10);
    while (n /= 10);
    return put(to, digits + i, 20 - i);
}

/* The fields from `block`, an LF, without what was cut and without the last LF CR LF. */
static char *put_rest(char *to, const char *block, const Scan *s)
{
    const char *from = block;
    int i;

    for (i = 0; i < s->cuts; i++) {
        to = put(to, from, s->cut[i].at - from);
        from = s->cut[i].at + s->cut[i].size;
    }
    return put(to, from, s->end - 3 - from);
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

static Span span_of(PyObject *bytes)
{
    Span span;

    span.at = PyBytes_AsString(bytes);
    span.size = PyBytes_Size(bytes);
    return span;
}

static PyObject *bytes_of(Span span)
{
    return PyBytes_FromStringAndSize(span.at, span.size);
}

static PyObject *kept(PyObject *object)
{
    Py_INCREF(object);
    return object;
}

/* -- requests ------------------------------------------------------------------------------------------------------ */

#define MOST_METHOD 127
#define MOST_OUT 16384 /* a head written anew; a larger one is not plain */
#define SLACK 256 /* all that we write ourselves beside the spans, and more */

/* Methods that come again and again, made once; so are the two protocols. */
static const char *const usual[] = {"GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", NULL};
static PyObject *usual_methods[8], *http, *https;

typedef struct {
    PyObject_HEAD
    PyObject *peer, *port, *scheme, *protocol, *via, *common;
    int trusted;
    Py_ssize_t most_request_line, most_line, most_fields, most_name, most_head;
} Reader;

static PyObject *method_of(Span method)
{
    int i;

    for (i = 0; usual[i]; i++)
        if (strlen(usual[i]) == (size_t)method.size && memcmp(usual[i], method.at, (size_t)method.size) == 0)
            return kept(usual_methods[i]);
    return bytes_of(method);
}

static int is_text(Span span, const char *text)
{
    return (size_t)span.size == strlen(text) && memcmp(span.at, text, (size_t)span.size) == 0;
}

/* As client_port() in head_judge.py: where a trusted proxy tells the scheme and no port, its own port is told. */
static Span client_port(const Reader *self, Span host, Span told)
{
    static const char tls[] = "443", clear[] = "80";
    Span port = span_of(self->port);
    Py_ssize_t i;

    if (!told.size)
        return port;
    for (i = 0; i < host.size && host.at[i] != ':'; i++)
        ;
    if (host.size - i > 1) { /* a plain host has digits alone behind its colon */
        port.at = host.at + i + 1;
        port.size = host.size - i - 1;
        return port;
    }
    port.at = is_text(told, "https") ? tls : clear;
    port.size = is_text(told, "https") ? 3 : 2;
    return port;
}

/* What printable() in core/request_record.py leaves of the chain of addresses. */
static PyObject *printable(Span chain)
{
    char buffer[MOST_OUT], *to = buffer;
    Py_ssize_t i;

    for (i = 0; i < chain.size; i++)
        if (kind[(unsigned char)chain.at[i]] & VISIBLE)
            *to++ = chain.at[i];
    return PyBytes_FromStringAndSize(buffer, to - buffer);
}

/* A tuple of what is ours; NULL if one of it is. */
static PyObject *tuple_of(PyObject **items, Py_ssize_t count)
{
    PyObject *tuple = PyTuple_New(count);
    Py_ssize_t i;
    int good = tuple != NULL;

    for (i = 0; i < count; i++)
        good &= items[i] != NULL;
    for (i = 0; i < count; i++)
        if (good)
            PyTuple_SetItem(tuple, i, items[i]);
        else
            Py_XDECREF(items[i]);
    if (!good)
        Py_CLEAR(tuple);
    return tuple;
}

static PyObject *number(long long n)
{
    return PyLong_FromLongLong(n);
}

static PyObject *truth(int is)
{
    return kept(is ? Py_True : Py_False);
}

PyDoc_STRVAR(read_doc, "read(data, fresh_id, at_ms, /)\n--\n\nAs plain_head.RequestReader.read.");

static PyObject *reader_read(PyObject *object, PyObject *const *args, Py_ssize_t nargs)
{
    const Reader *self = (const Reader *)object;
    Span method, target, host, id, told = {NULL, 0}, port, peer, via, common, forwarded, chain = {NULL, 0};
    const char *p, *data, *end, *block;
    char out[MOST_OUT], *to = out;
    long long length, at_ms;
    int connection, is_tls = 0, tells, given_id;
    PyObject *items[10];
    Scan s;

    if (nargs != 3 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "read(data: bytes, fresh_id: bytes, at_ms: int)");
        return NULL;
    }
    at_ms = PyLong_AsLongLong(args[2]);
    if (at_ms < 0 && PyErr_Occurred())
        return NULL;
    data = p = PyBytes_AsString(args[0]);
    end = data + PyBytes_Size(args[0]);
    while (p < end && (kind[(unsigned char)*p] & TOKEN))
        p++;
    method.at = data;
    method.size = p - data;
    if (!method.size || method.size > MOST_METHOD || end - p < 14 || *p != ' ' || p[1] != '/' ||
        is_text(method, "CONNECT"))
        Py_RETURN_NONE;
    target.at = ++p;
    while (p < end && (kind[(unsigned char)*p] & TARGET))
        p++;
    target.size = p - target.at;
    if (end - p < 13 || memcmp(p, " HTTP/1.1\r\n", 11) != 0)
        Py_RETURN_NONE;
    block = p + 10;
    if (block - data > self->most_request_line ||
        !scan(block, end, 1, self->most_fields, self->most_line, self->most_name, &s) ||
        s.end - data > self->most_head)
        Py_RETURN_NONE;
    length = length_of(&s.found[F_LENGTH]);
    connection = connection_of(&s.found[F_CONNECTION]);
    host = s.found[F_HOST];
    if (length == -2 || connection < 0 || s.found[F_CODING].at || !host.at || !plain_host(&host))
        Py_RETURN_NONE;
    tells = s.found[F_FOR].at || s.found[F_PROTO].at || s.found[F_PORT].at || s.found[F_VIA].at;
    if (!all_of(&s.found[F_PROTO], VISIBLE) || !all_of(&s.found[F_PORT], VISIBLE))
        Py_RETURN_NONE;
    peer = span_of(self->peer);
    via = span_of(self->via);
    common = span_of(self->common);
    id = s.found[F_ID];
    given_id = id.at && id.size >= 20 && id.size <= 200 && all_of(&id, ID);
    if (!given_id)
        id = span_of(args[1]);
    if ((s.end - data) + common.size + id.size + peer.size + via.size + SLACK > MOST_OUT)
        Py_RETURN_NONE;

    to = put(to, data, block - data);
    to = put_rest(to, block, &s);
    if (length >= 0) {
        to = PUT(to, "\nContent-Length: ");
        to = put_number(to, length);
        to = PUT(to, "\r");
    }
    if (!tells)
        to = put_span(to, common);
    else {
        if (self->trusted)
            told = s.found[F_PROTO];
        port = self->trusted && s.found[F_PORT].size ? s.found[F_PORT] : client_port(self, host, told);
        if (!told.size)
            told = span_of(self->scheme);
        is_tls = is_text(told, "https");
        forwarded = s.found[F_FOR];
        to = PUT(to, "\nX-Forwarded-For: ");
        chain.at = to;
        if (forwarded.at) {
            to = put_span(to, forwarded);
            to = PUT(to, ", ");
        }
        to = put_span(to, peer);
        chain.size = to - chain.at;
        to = PUT(to, "\r\nX-Forwarded-Proto: ");
        to = put_span(to, told);
        to = PUT(to, "\r\nX-Forwarded-Port: ");
        to = put_span(to, port);
        to = PUT(to, "\r\nVia: ");
        if (s.found[F_VIA].at) {
            to = put_span(to, s.found[F_VIA]);
            to = PUT(to, ", ");
        }
        to = PUT(to, "1.1 ");
        to = put_span(to, via);
        to = PUT(to, "\r\nX-Request-Start: ");
    }
    to = put_number(to, at_ms);
    to = PUT(to, "\r\nX-Request-Id: ");
    to = put_span(to, id);
    to = PUT(to, "\r\n\r\n");

    items[0] = method_of(method);
    items[1] = bytes_of(target);
    items[2] = bytes_of(host);
    items[3] = given_id ? bytes_of(id) : kept(args[1]);
    items[4] = tells ? printable(chain) : kept(self->peer);
    items[5] = kept(!tells ? self->protocol : is_tls ? https : http);
    items[6] = PyBytes_FromStringAndSize(out, to - out);
    items[7] = number(length);
    items[8] = truth(connection != 1);
    items[9] = number(s.end - data);
    return tuple_of(items, 10);
}

/* An attribute of the right type, ours; NULL with an exception. */
static PyObject *bytes_attribute(PyObject *object, const char *name)
{
    PyObject *value = PyObject_GetAttrString(object, name);

    if (value && !PyBytes_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s: expected bytes", name);
        Py_CLEAR(value);
    }
    return value;
}

static int size_attribute(PyObject *object, const char *name, Py_ssize_t *size)
{
    PyObject *value = PyObject_GetAttrString(object, name);

    *size = value ? PyLong_AsSsize_t(value) : -1;
    Py_XDECREF(value);
    return *size == -1 && PyErr_Occurred() ? -1 : 0;
}

static PyObject *reader_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    PyObject *by, *limits, *trusted;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Reader *self;

    (void)keywords;
    if (!PyArg_ParseTuple(args, "OO", &by, &limits))
        return NULL;
    self = (Reader *)alloc(type, 0);
    if (!self)
        return NULL;
    trusted = PyObject_GetAttrString(by, "trusted");
    self->trusted = trusted ? PyObject_IsTrue(trusted) : -1;
    Py_XDECREF(trusted);
    if (self->trusted < 0 || !(self->peer = bytes_attribute(by, "peer")) || !(self->port = bytes_attribute(by, "port")) ||
        !(self->scheme = bytes_attribute(by, "scheme")) || !(self->via = bytes_attribute(by, "via")) ||
        !(self->common = bytes_attribute(by, "common")) || !(self->protocol = PyObject_GetAttrString(by, "protocol")) ||
        size_attribute(limits, "request_line", &self->most_request_line) < 0 ||
        size_attribute(limits, "line", &self->most_line) < 0 || size_attribute(limits, "fields", &self->most_fields) < 0 ||
        size_attribute(limits, "name", &self->most_name) < 0 || size_attribute(limits, "head", &self->most_head) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void reader_dealloc(PyObject *object)
{
    Reader *self = (Reader *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    Py_XDECREF(self->peer);
    Py_XDECREF(self->port);
    Py_XDECREF(self->scheme);
    Py_XDECREF(self->protocol);
    Py_XDECREF(self->via);
    Py_XDECREF(self->common);
    release(object);
    Py_DECREF(type);
}

static PyMethodDef reader_methods[] = {
    {"read", (PyCFunction)(void (*)(void))reader_read, METH_FASTCALL, read_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot reader_slots[] = {
    {Py_tp_new, reader_new},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_methods, reader_methods},
    {0, NULL},
};

static PyType_Spec reader_spec = {"router._http_head.RequestReader", sizeof(Reader), 0, Py_TPFLAGS_DEFAULT, reader_slots};

/* -- answers ------------------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    PyObject *via, *date;
    Py_ssize_t most;
} AnswerReader;

PyDoc_STRVAR(answer_doc, "read(data, /)\n--\n\nAs plain_head.AnswerReader.read.");

static PyObject *answer_read(PyObject *object, PyObject *given)
{
    const AnswerReader *self = (const AnswerReader *)object;
    const char *data, *end, *p, *block;
    char out[MOST_OUT], *to = out;
    Py_ssize_t most = self->most, before, size, body;
    PyObject *items[11], *date = NULL, *whole_out;
    Span via, dated;
    int status, connection, chunked, whole = 0;
    long long length;
    Scan s;

    if (!PyBytes_Check(given)) {
        PyErr_SetString(PyExc_TypeError, "read(data: bytes)");
        return NULL;
    }
    data = PyBytes_AsString(given);
    end = data + PyBytes_Size(given);
    via = span_of(self->via);
    if (end - data < 17 || memcmp(data, "HTTP/1.1 ", 9) != 0 || data[9] < '1' || data[9] > '5' || data[10] < '0' ||
        data[10] > '9' || data[11] < '0' || data[11] > '9' || data[12] != ' ')
        Py_RETURN_NONE;
    status = (data[9] - '0') * 100 + (data[10] - '0') * 10 + (data[11] - '0');
    p = data + 13;
    while (p < end && (kind[(unsigned char)*p] & VALUE))
        p++;
    if (end - p < 4 || p[0] != '\r' || p[1] != '\n')
        Py_RETURN_NONE;
    block = p + 1;
    if (!scan(block, end, 0, PY_SSIZE_T_MAX, most, most, &s) || s.end - data > most ||
        (s.end - data) + via.size + SLACK > MOST_OUT)
        Py_RETURN_NONE;
    length = length_of(&s.found[F_LENGTH]);
    connection = connection_of(&s.found[F_CONNECTION]);
    chunked = s.found[F_CODING].at != NULL;
    if (length == -2 || connection < 0 || (chunked && (length != -1 || !is_word(&s.found[F_CODING], "chunked", 7))))
        Py_RETURN_NONE;

    to = put(to, data, block - data);
    to = put_rest(to, block, &s);
    if (status >= 200 && !s.found[F_DATE].at) {
        date = PyObject_CallNoArgs(self->date);
        if (!date)
            return NULL;
        if (!PyBytes_Check(date) || PyBytes_Size(date) > SLACK / 2) {
            Py_DECREF(date);
            PyErr_SetString(PyExc_TypeError, "date: expected bytes");
            return NULL;
        }
        dated = span_of(date);
        to = PUT(to, "\nDate: ");
        to = put_span(to, dated);
        to = PUT(to, "\r");
        Py_DECREF(date);
    }
    to = PUT(to, "\nVia: ");
    if (s.found[F_VIA].at) {
        to = put_span(to, s.found[F_VIA]);
        to = PUT(to, ", ");
    }
    to = PUT(to, "1.1 ");
    to = put_span(to, via);
    to = PUT(to, "\r\n");
    before = to - out;
    if (status < 200 || status == 204) {
        length = 0;
        chunked = 0;
    } else if (chunked)
        to = PUT(to, "Transfer-Encoding: chunked\r\n");
    else if (length >= 0) {
        to = PUT(to, "Content-Length: ");
        to = put_number(to, length);
        to = PUT(to, "\r\n");
        whole = end - s.end == length && status != 304;
    }
    to = PUT(to, "\r\n");
    size = to - out;
    body = whole ? (Py_ssize_t)length : 0;
    whole_out = PyBytes_FromStringAndSize(NULL, size + body);
    if (!whole_out)
        return NULL;
    to = put(PyBytes_AsString(whole_out), out, size);
    put(to, s.end, body);

    items[0] = number(status);
    items[1] = whole_out;
    items[2] = number(before);
    items[3] = number(size);
    items[4] = number(length);
    items[5] = truth(chunked);
    items[6] = truth(connection != 1);
    items[7] = truth(s.found[F_DATE].at != NULL);
    items[8] = s.found[F_KEEP_ALIVE].at ? bytes_of(s.found[F_KEEP_ALIVE]) : kept(Py_None);
    items[9] = number(s.end - data);
    items[10] = truth(whole);
    return tuple_of(items, 11);
}

static PyObject *answer_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static const char *const lines[] = {"line", "set_cookie", "status_line", "head", NULL};
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    PyObject *via, *limits, *date;
    AnswerReader *self;
    Py_ssize_t size;
    int i;

    (void)keywords;
    if (!PyArg_ParseTuple(args, "SOO", &via, &limits, &date))
        return NULL;
    self = (AnswerReader *)alloc(type, 0);
    if (!self)
        return NULL;
    self->via = kept(via);
    self->date = kept(date);
    self->most = PY_SSIZE_T_MAX;
    for (i = 0; lines[i]; i++) {
        if (size_attribute(limits, lines[i], &size) < 0) {
            Py_DECREF(self);
            return NULL;
        }
        if (size < self->most)
            self->most = size;
    }
    return (PyObject *)self;
}

static void answer_dealloc(PyObject *object)
{
    AnswerReader *self = (AnswerReader *)object;
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);

    Py_XDECREF(self->via);
    Py_XDECREF(self->date);
    release(object);
    Py_DECREF(type);
}

static PyMethodDef answer_methods[] = {
    {"read", answer_read, METH_O, answer_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot answer_slots[] = {
    {Py_tp_new, answer_new},
    {Py_tp_dealloc, answer_dealloc},
    {Py_tp_methods, answer_methods},
    {0, NULL},
};

static PyType_Spec answer_spec = {"router._http_head.AnswerReader", sizeof(AnswerReader), 0, Py_TPFLAGS_DEFAULT,
                                  answer_slots};

/* -- the module ---------------------------------------------------------------------------------------------------- */

static int add_type(PyObject *made, const char *name, PyType_Spec *spec)
{
    PyObject *type = PyType_FromSpec(spec);
    int failed = !type || PyModule_AddObjectRef(made, name, type) < 0;

    Py_XDECREF(type);
    return failed;
}

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "router._http_head", "The compiled twin of plain_head.py.", -1, NULL, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__http_head(void)
{
    static const char tokens[] = "!#$%&'*+-.^_`|~", hosts[] = "._~!$&'()*+;=%-", ids[] = "+/=-";
    PyObject *made;
    const Known *k;
    const char *c;
    int i;

    for (i = 0; i < 256; i++) {
        int letter = (i >= '0' && i <= '9') || (i >= 'a' && i <= 'z') || (i >= 'A' && i <= 'Z');
        kind[i] = (unsigned char)(letter ? TOKEN | HOST | ID : 0);
        if (i == '\t' || (i >= 0x20 && i <= 0x7e) || i >= 0x80)
            kind[i] |= VALUE;
        if (i >= 0x21 && i <= 0x7e && i != '#')
            kind[i] |= TARGET;
        if (i >= 0x21 && i <= 0x7e && i != '"')
            kind[i] |= VISIBLE;
    }
    for (c = tokens; *c; c++)
        kind[(unsigned char)*c] |= TOKEN;
    for (c = hosts; *c; c++)
        kind[(unsigned char)*c] |= HOST;
    for (c = ids; *c; c++)
        kind[(unsigned char)*c] |= ID;
    for (k = known; k->name; k++)
        first_with[k->size][k->name[0] - 'a'] = 1;
    for (i = 0; usual[i]; i++)
        if (!usual_methods[i] && !(usual_methods[i] = PyBytes_FromString(usual[i])))
            return NULL;
    if (!(http = PyUnicode_InternFromString("http")) || !(https = PyUnicode_InternFromString("https")))
        return NULL;
    made = PyModule_Create(&module);
    if (made && (add_type(made, "RequestReader", &reader_spec) || add_type(made, "AnswerReader", &answer_spec)))
        Py_CLEAR(made);
    return made;
}
