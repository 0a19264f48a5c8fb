/* The compiled twin of core/request_record.py's line: router log lines of finished requests, a batch in one call.
 *
 * It knows requests that ended without a code. Of any other the caller's function makes the line.
 * tests/unit/router/test_record_lines.py holds the two equal.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_ROOM 24 /* of one number, its sign and its unit */
#define WORDS_ROOM 256 /* of all names of a line's fields, and more */

enum { CODE, METHOD, PATH, HOST, REQUEST_ID, FWD, DYNO, CONNECT, SERVICE, STATUS, BYTES_OUT, PROTOCOL, COUNT };
static const char *const names[COUNT] = {"code",       "method",     "path",   "host",      "request_id", "fwd", "dyno",
                                         "connect_ms", "service_ms", "status", "bytes_out", "protocol"};
static PyObject *attributes[COUNT];

typedef struct {
    char *start, *to;
    size_t room;
} Out;

static int make_room(Out *out, size_t more)
{
    size_t used = (size_t)(out->to - out->start);
    char *moved;

    if (used + more <= out->room)
        return 1;
    out->room = (used + more) * 2;
    moved = realloc(out->start, out->room);
    if (!moved) {
        PyErr_NoMemory();
        return 0;
    }
    out->start = moved;
    out->to = moved + used;
    return 1;
}

static void put(Out *out, const char *from, size_t size)
{
    memcpy(out->to, from, size);
    out->to += size;
}

#define PUT(out, text) put(out, text, sizeof text - 1)

static void put_number(Out *out, long long n)
{
    char digits[20];
    int i = 20;
    unsigned long long left = n < 0 ? 0ULL - (unsigned long long)n : (unsigned long long)n;

    if (n < 0)
        PUT(out, "-");
    do
        digits[--i] = (char)('0' + left % 10);
    while (left /= 10);
    put(out, digits + i, (size_t)(20 - i));
}

static int put_bytes(Out *out, PyObject *bytes)
{
    char *at;
    Py_ssize_t size;

    if (PyBytes_AsStringAndSize(bytes, &at, &size) < 0 || !make_room(out, (size_t)size + WORDS_ROOM))
        return 0;
    put(out, at, (size_t)size);
    return 1;
}

/* A path, in which a quote would end the field. */
static int put_path(Out *out, PyObject *bytes)
{
    char *at;
    Py_ssize_t size, i;

    if (PyBytes_AsStringAndSize(bytes, &at, &size) < 0 || !make_room(out, (size_t)size * 3 + WORDS_ROOM))
        return 0;
    for (i = 0; i < size; i++)
        if (at[i] == '"')
            PUT(out, "%22");
        else
            *out->to++ = at[i];
    return 1;
}

/* Whole milliseconds of a float, or nothing of None. */
static int put_ms(Out *out, PyObject *value)
{
    double ms;

    if (value == Py_None)
        return 1;
    ms = PyFloat_AsDouble(value);
    if (ms == -1.0 && PyErr_Occurred())
        return 0;
    put_number(out, (long long)ms);
    PUT(out, "ms");
    return 1;
}

static int put_int(Out *out, PyObject *value)
{
    long long n;

    if (value == Py_None)
        return 1;
    n = PyLong_AsLongLong(value);
    if (n == -1 && PyErr_Occurred())
        return 0;
    put_number(out, n);
    return 1;
}

static int put_line(Out *out, PyObject **of)
{
    if (!make_room(out, WORDS_ROOM))
        return 0;
    PUT(out, "at=info method=");
    if (!put_bytes(out, of[METHOD]))
        return 0;
    PUT(out, " path=\"");
    if (!put_path(out, of[PATH]))
        return 0;
    PUT(out, "\" host=");
    if (!put_bytes(out, of[HOST]))
        return 0;
    PUT(out, " request_id=");
    if (!put_bytes(out, of[REQUEST_ID]))
        return 0;
    PUT(out, " fwd=\"");
    if (!put_bytes(out, of[FWD]))
        return 0;
    PUT(out, "\" dyno=");
    if (!put_bytes(out, of[DYNO]))
        return 0;
    PUT(out, " connect=");
    if (!put_ms(out, of[CONNECT]))
        return 0;
    PUT(out, " service=");
    if (!put_ms(out, of[SERVICE]))
        return 0;
    PUT(out, " status=");
    if (!put_int(out, of[STATUS]))
        return 0;
    PUT(out, " bytes=");
    if (!put_int(out, of[BYTES_OUT]))
        return 0;
    if (PyUnicode_CompareWithASCIIString(of[PROTOCOL], "http") == 0)
        PUT(out, " protocol=http\n");
    else
        PUT(out, " protocol=https\n");
    return 1;
}

static int put_record(Out *out, PyObject *record, PyObject *coded)
{
    PyObject *of[COUNT] = {NULL}, *line;
    int i, good = 1;

    of[CODE] = PyObject_GetAttr(record, attributes[CODE]);
    if (!of[CODE])
        return 0;
    if (of[CODE] != Py_None) {
        Py_DECREF(of[CODE]);
        line = PyObject_CallFunctionObjArgs(coded, record, NULL);
        good = line && put_bytes(out, line);
        if (good)
            PUT(out, "\n");
        Py_XDECREF(line);
        return good;
    }
    for (i = CODE + 1; good && i < COUNT; i++)
        good = (of[i] = PyObject_GetAttr(record, attributes[i])) != NULL;
    good = good && put_line(out, of);
    for (i = 0; i < COUNT; i++)
        Py_XDECREF(of[i]);
    return good;
}

PyDoc_STRVAR(lines_doc, "lines(records, coded, /)\n--\n\nThe lines of `records`, each with its LF; `coded` makes those with a code.");

static PyObject *lines(PyObject *module, PyObject *args)
{
    PyObject *records, *coded, *record, *result = NULL;
    Out out = {NULL, NULL, 0};
    Py_ssize_t count, i;
    int good = 1;

    (void)module;
    if (!PyArg_ParseTuple(args, "OO", &records, &coded))
        return NULL;
    count = PySequence_Size(records);
    if (count < 0)
        return NULL;
    for (i = 0; good && i < count; i++) {
        record = PySequence_GetItem(records, i);
        good = record && put_record(&out, record, coded);
        Py_XDECREF(record);
    }
    if (good)
        result = PyBytes_FromStringAndSize(out.start, out.to - out.start);
    free(out.start);
    return result;
}

static PyMethodDef methods[] = {
    {"lines", lines, METH_VARARGS, lines_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "router._record_line", "The compiled twin of a record's line.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__record_line(void)
{
    int i;

    for (i = 0; i < COUNT; i++)
        if (!attributes[i] && !(attributes[i] = PyUnicode_InternFromString(names[i])))
            return NULL;
    return PyModule_Create(&module);
}
