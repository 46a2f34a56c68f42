/* Local SGD of a chain of linear layers with ReLU between them and cross-entropy at its end.

   One call makes all the steps of one job. Weights lie as PyTorch has them, (out, in) row by row
   and then the bias, but every row is padded with zeros to a multiple of 16 floats, so that no
   loop has a rest. Sums are taken in an order that depends on the layer's shape alone. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#define MAX_LAYERS 16
#define PADDED(n) (((n) + 15) / 16 * 16)

/* Vectors of the machine's own width, and how many of them a tile is wide: its sums stay in
   registers, of which there are 32, or 16 on x86 before AVX-512. */
#if defined(__AVX512F__)
#define LANES 16
#define WIDE 4
#elif defined(__AVX__)
#define LANES 8
#define WIDE 2
#elif defined(__aarch64__)
#define LANES 4
#define WIDE 4
#else
#define LANES 4
#define WIDE 2
#endif
#define TALL 6
#if WIDE == 4
#define ROWS 4
#else
#define ROWS 2
#endif

typedef float vec __attribute__((vector_size(4 * LANES), aligned(4)));
typedef float four __attribute__((vector_size(16)));

#define INLINE static inline __attribute__((always_inline))
#define AT(p) (*(vec *)(p))
#define AT_CONST(p) (*(const vec *)(p))

struct problem {
    int64_t layers;
    const int64_t *widths; /* layers + 1 of them */
    const float *x;        /* (examples, widths[0]) */
    const int64_t *y;      /* (examples,) */
    int64_t batch;
    float momentum, decay, clip; /* 0: none */
};

struct job {
    const float *start; /* (P,) */
    const float *minus; /* (P,), or NULL */
    const int32_t *order; /* (seen,) examples, pass after pass over the n local ones */
    int64_t seen, n;
    float lr;
    float a;                 /* what the local rule adds to a gradient: a (y - base) + b; */
    const float *base, *b;   /* (P,) each, or NULL where a is 0, or b */
    float *end; /* (P,): the trained model, less `minus` */
};

struct layer {
    int64_t in, out, wide_in, wide_out;
    float *w, *bias;   /* (out, wide_in), (wide_out,) */
    float *gw, *gbias; /* where their gradients are added */
    float *x, *slope;  /* (batch, wide_in): inputs, and the loss's slopes at them */
};

/* Matrix products. */

INLINE float total(vec v) {
    union { vec whole; four part[LANES / 4]; } u = {v};
    four sum = u.part[0];
    for (int i = 1; i < LANES / 4; i++) sum += u.part[i];
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* c[r][n] += sum over k of a[r * ar + k * ak] * b[k][n], for `rows` rows and `vecs` vectors */
INLINE void add_tile(int rows, int vecs, int64_t depth, const float *a, int64_t ar, int64_t ak,
                     const float *b, float *c, int64_t ld) {
    vec sum[TALL][WIDE] = {0};
    for (int64_t k = 0; k < depth; k++)
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < vecs; v++)
                sum[r][v] += a[r * ar + k * ak] * AT_CONST(b + k * ld + v * LANES);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++) AT(c + r * ld + v * LANES) += sum[r][v];
}

INLINE void add_rows(int rows, int64_t width, int64_t depth, const float *a, int64_t ar,
                     int64_t ak, const float *b, float *c) {
    int64_t n = 0;
    for (; n + WIDE * LANES <= width; n += WIDE * LANES)
        add_tile(rows, WIDE, depth, a, ar, ak, b + n, c + n, width);
    for (; n < width; n += LANES) add_tile(rows, 1, depth, a, ar, ak, b + n, c + n, width);
}

/* c (height, width) += a b, with a (height, depth) at strides ar and ak, and b (depth, width) */
static void add_product(int64_t height, int64_t width, int64_t depth, const float *a, int64_t ar,
                        int64_t ak, const float *b, float *c) {
    int64_t m = 0;
    for (; m + TALL <= height; m += TALL)
        add_rows(TALL, width, depth, a + m * ar, ar, ak, b, c + m * width);
    for (; m + 2 <= height; m += 2)
        add_rows(2, width, depth, a + m * ar, ar, ak, b, c + m * width);
    if (m < height) add_rows(1, width, depth, a + m * ar, ar, ak, b, c + m * width);
}

/* c[r][q] = bias[q] + a[r] . b[q], for `rows` rows of a and `cols` rows of b */
INLINE void dot_tile(int rows, int cols, int64_t depth, const float *a, const float *b,
                     const float *bias, float *c, int64_t ld) {
    vec sum[ROWS][TALL] = {0};
    for (int64_t k = 0; k < depth; k += LANES)
        for (int r = 0; r < rows; r++)
            for (int q = 0; q < cols; q++)
                sum[r][q] += AT_CONST(a + r * depth + k) * AT_CONST(b + q * depth + k);
    for (int r = 0; r < rows; r++)
        for (int q = 0; q < cols; q++) c[r * ld + q] = bias[q] + total(sum[r][q]);
}

INLINE void dot_columns(int cols, int64_t height, int64_t depth, const float *a, const float *b,
                        const float *bias, float *c, int64_t ld) {
    int64_t m = 0;
    for (; m + ROWS <= height; m += ROWS)
        dot_tile(ROWS, cols, depth, a + m * depth, b, bias, c + m * ld, ld);
    for (; m < height; m++) dot_tile(1, cols, depth, a + m * depth, b, bias, c + m * ld, ld);
}

/* y (height, out) = x w^T + bias, all over `depth` inputs */
static void apply_linear(int64_t height, const struct layer *l, float *y) {
    int64_t depth = l->wide_in, ld = l->wide_out, n = 0;
    for (; n + TALL <= l->out; n += TALL)
        dot_columns(TALL, height, depth, l->x, l->w + n * depth, l->bias + n, y + n, ld);
    for (; n + 2 <= l->out; n += 2)
        dot_columns(2, height, depth, l->x, l->w + n * depth, l->bias + n, y + n, ld);
    if (n < l->out) dot_columns(1, height, depth, l->x, l->w + n * depth, l->bias + n, y + n, ld);
}

/* One mini-batch. */

static void gather(const struct problem *p, const struct layer *first, const int32_t *order,
                   int64_t rows) {
    for (int64_t r = 0; r < rows; r++)
        memcpy(first->x + r * first->wide_in, p->x + (int64_t)order[r] * first->in,
               sizeof(float) * first->in);
}

/* Comparisons are written so that a NaN stays one. */
static void relu(float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = x[i] < 0 ? 0 : x[i];
}

static void mask(float *slope, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) slope[i] = x[i] <= 0 ? 0 : slope[i];
}

/* Turns one row of logits into `scale` times the slope of its loss; returns the loss. */
static double cross_entropy(float *z, int64_t classes, int64_t label, float scale) {
    float top = z[0], sum = 0;
    for (int64_t c = 1; c < classes; c++) top = z[c] > top ? z[c] : top;
    float own = z[label] - top;
    for (int64_t c = 0; c < classes; c++) sum += z[c] = expf(z[c] - top);
    for (int64_t c = 0; c < classes; c++) z[c] *= scale / sum;
    z[label] -= scale;
    return logf(sum) - own;
}

static void backward(const struct layer *l, int64_t rows, const float *slope, int first) {
    if (!first) {
        memset(l->slope, 0, sizeof(float) * rows * l->wide_in);
        add_product(rows, l->wide_in, l->out, slope, l->wide_out, 1, l->w, l->slope);
        mask(l->slope, l->x, rows * l->wide_in);
    }
    add_product(l->out, l->wide_in, rows, slope, 1, l->wide_out, l->x, l->gw);
    for (int64_t o = 0; o < l->wide_out; o += LANES) {
        vec sum = {0};
        for (int64_t r = 0; r < rows; r++) sum += AT_CONST(slope + r * l->wide_out + o);
        AT(l->gbias + o) += sum;
    }
}

/* Adds `scale` times the gradient of the summed loss to gw and gbias; adds up the losses. */
static void descend(const struct problem *p, const struct layer *l, const int32_t *order,
                    int64_t rows, float scale, double *losses) {
    const struct layer *last = l + p->layers - 1;
    float *logits = last[1].x;
    gather(p, l, order, rows);
    for (const struct layer *at = l; at <= last; at++) {
        apply_linear(rows, at, at[1].x);
        if (at < last) relu(at[1].x, rows * at->wide_out);
    }
    for (int64_t r = 0; r < rows; r++) {
        double loss = cross_entropy(logits + r * last->wide_out, last->out, p->y[order[r]], scale);
        losses[0] += loss;
        losses[1] += loss * loss;
    }
    for (const struct layer *at = last; at >= l; at--)
        backward(at, rows, at == last ? logits : at[1].slope, at == l);
}

/* The model and what belongs to each of its elements, padded alike. NULL: all zero. */
struct state {
    int64_t size;
    float *y, *g, *v, *base, *b;
};

static float clipped(const struct problem *p, const struct state *s) {
    if (!p->clip) return 1;
    double square = 0;
    for (int64_t i = 0; i < s->size; i++) square += (double)s->g[i] * s->g[i];
    float factor = p->clip / ((float)sqrt(square) + 1e-6f);
    return factor > 1 ? 1 : factor;
}

/* y -= lr v, with v = momentum v + (clipped g + decay y) + a (y - base) + b */
static void move(const struct problem *p, const struct job *j, const struct state *s) {
    float factor = clipped(p, s);
    float *y = s->y, *g = s->g, *v = s->v;
    for (int64_t i = 0; i < s->size; i++) g[i] = factor * g[i] + p->decay * y[i];
    if (s->base)
        for (int64_t i = 0; i < s->size; i++) g[i] += j->a * (y[i] - s->base[i]);
    if (s->b)
        for (int64_t i = 0; i < s->size; i++) g[i] += s->b[i];
    for (int64_t i = 0; i < s->size; i++) {
        v[i] = p->momentum * v[i] + g[i];
        y[i] -= j->lr * v[i];
    }
}

/* A model in and out of its padded form, layer after layer from `w` of the first. */

static void unpack(const struct problem *p, const float *from, float *to) {
    for (int64_t i = 0; i < p->layers; i++) {
        int64_t in = p->widths[i], out = p->widths[i + 1];
        for (int64_t o = 0; o < out; o++, from += in, to += PADDED(in))
            memcpy(to, from, sizeof(float) * in);
        memcpy(to, from, sizeof(float) * out);
        from += out;
        to += PADDED(out);
    }
}

static float *pack_row(float *to, const float *from, const float **minus, int64_t n) {
    if (*minus) {
        for (int64_t i = 0; i < n; i++) to[i] = from[i] - (*minus)[i];
        *minus += n;
    } else
        memcpy(to, from, sizeof(float) * n);
    return to + n;
}

static void pack(const struct problem *p, const float *from, const float *minus, float *to) {
    for (int64_t i = 0; i < p->layers; i++) {
        int64_t in = p->widths[i], out = p->widths[i + 1];
        for (int64_t o = 0; o < out; o++, from += PADDED(in)) to = pack_row(to, from, &minus, in);
        to = pack_row(to, from, &minus, out);
        from += PADDED(out);
    }
}

static int64_t padded_size(const struct problem *p) {
    int64_t size = 0;
    for (int64_t i = 0; i < p->layers; i++)
        size += p->widths[i + 1] * PADDED(p->widths[i]) + PADDED(p->widths[i + 1]);
    return size;
}

static int64_t inner_size(const struct problem *p) {
    int64_t size = 0;
    for (int64_t i = 0; i <= p->layers; i++) size += 2 * p->batch * PADDED(p->widths[i]);
    return size;
}

/* Floats that `train` needs to work in. */
int64_t scratch_size(const struct problem *p) { return 16 + 5 * padded_size(p) + inner_size(p); }

/* Places for what is inside the layers, from `at`; the layer after the last holds the logits. */
static void lay_out(const struct problem *p, struct layer *l, float *y, float *g, float *at) {
    int64_t before = 0;
    for (int64_t i = 0; i <= p->layers; i++) {
        int64_t in = p->widths[i], out = i < p->layers ? p->widths[i + 1] : 0;
        int64_t bias = before + out * PADDED(in);
        l[i] = (struct layer){.in = in, .out = out, .wide_in = PADDED(in), .wide_out = PADDED(out),
                              .w = y + before, .bias = y + bias,
                              .gw = g + before, .gbias = g + bias,
                              .x = at, .slope = at + p->batch * PADDED(in)};
        before = bias + PADDED(out);
        at += 2 * p->batch * PADDED(in);
    }
}

/* Zeroed copies of what the job has; whether gradients must be written down at all. */
static int begin(const struct problem *p, const struct job *j, struct state *s, float *scratch) {
    s->size = padded_size(p);
    int written = p->momentum || p->decay || p->clip || j->a || j->b;
    memset(scratch, 0, sizeof(float) * s->size * (written ? 5 : 1));
    s->y = scratch;
    s->g = written ? s->y + s->size : s->y; /* or straight into the model */
    s->v = s->y + 2 * s->size;
    s->base = j->a ? s->y + 3 * s->size : NULL;
    s->b = j->b ? s->y + 4 * s->size : NULL;
    unpack(p, j->start, s->y);
    if (s->base) unpack(p, j->base, s->base);
    if (s->b) unpack(p, j->b, s->b);
    return written;
}

/* Trains one job. scratch: scratch_size floats. losses: sum and sum of squares over examples. */
void train(const struct problem *p, const struct job *j, float *scratch, double *losses) {
    struct layer layers[MAX_LAYERS + 1];
    struct state s;
    float *inner = (float *)(((uintptr_t)scratch + 63) / 64 * 64), *outer = inner + inner_size(p);
    int written = begin(p, j, &s, outer);
    memset(inner, 0, sizeof(float) * inner_size(p));
    lay_out(p, layers, s.y, s.g, inner);
    losses[0] = losses[1] = 0;
    for (int64_t at = 0, rows; at < j->seen; at += rows) {
        rows = j->n - at % j->n;
        if (rows > p->batch) rows = p->batch;
        if (rows > j->seen - at) rows = j->seen - at;
        if (written) memset(s.g, 0, sizeof(float) * s.size);
        descend(p, layers, j->order + at, rows, (written ? 1 : -j->lr) / rows, losses);
        if (written) move(p, j, &s);
    }
    pack(p, s.y, j->minus, j->end);
}
