#include "eval/answer_number.h"

#include <string.h>

enum { MOST_DIGITS = 2000, MOST_EXPONENT = 4000, MOST_FACTORIAL = 20000 };

void answer_number_init(struct answer_number *x) {
    x->exact = true;
    mpq_init(x->q);
    mpc_init2(x->z, ANSWER_BITS);
}

void answer_number_clear(struct answer_number *x) {
    mpq_clear(x->q);
    mpc_clear(x->z);
}

void answer_number_set(struct answer_number *x, const struct answer_number *from) {
    x->exact = from->exact;
    x->error = from->error;
    if (x->exact)
        mpq_set(x->q, from->q);
    else
        mpc_set(x->z, from->z, MPC_RNDNN);
}

void answer_number_set_ratio(struct answer_number *x, long top, unsigned long bottom) {
    x->exact = true;
    mpq_set_si(x->q, top, bottom);
    mpq_canonicalize(x->q);
}

static bool too_large(const mpq_t q) {
    return mpz_sizeinbase(mpq_numref(q), 2) > ANSWER_MOST_BITS ||
           mpz_sizeinbase(mpq_denref(q), 2) > ANSWER_MOST_BITS;
}

/* Binary exponent of the larger part; that of zero is far below all others. */
static long exponent_of(const mpc_t z) {
    enum { LOWEST = -1000000 };
    long real = mpfr_regular_p(mpc_realref(z)) ? mpfr_get_exp(mpc_realref(z)) : LOWEST;
    long imaginary = mpfr_regular_p(mpc_imagref(z)) ? mpfr_get_exp(mpc_imagref(z)) : LOWEST;
    return real > imaginary ? real : imaginary;
}

static long larger_of(long a, long b) {
    return a > b ? a : b;
}

static void make_float(struct answer_number *x) {
    if (!x->exact) return;
    mpc_set_q(x->z, x->q, MPC_RNDNN);
    x->exact = false;
    x->error = exponent_of(x->z) - ANSWER_BITS;
}

/* The error after an operation that made one of `carried` from those of its operands. */
static void set_error(struct answer_number *x, long carried) {
    x->error = larger_of(exponent_of(x->z) - ANSWER_BITS, carried) + 1;
}

static bool is_finite(const struct answer_number *x) {
    return x->exact || (mpfr_number_p(mpc_realref(x->z)) && mpfr_number_p(mpc_imagref(x->z)));
}

static void multiply_by_power_of_ten(mpq_t q, long exponent) {
    mpz_t power;
    mpz_init(power);
    mpz_ui_pow_ui(power, 10, (unsigned long)(exponent < 0 ? -exponent : exponent));
    mpq_t factor;
    mpq_init(factor);
    mpq_set_z(factor, power);
    if (exponent < 0)
        mpq_div(q, q, factor);
    else
        mpq_mul(q, q, factor);
    mpq_clear(factor);
    mpz_clear(power);
}

static int digit_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'z') return c - 'a' + 10;
    if (c >= 'A' && c <= 'Z') return c - 'A' + 10;
    return 99;
}

bool answer_number_read(struct answer_number *x, const char *digits, size_t length, int base) {
    long exponent = 0;
    bool point = false, any = false;
    if (length > MOST_DIGITS) return false;
    x->exact = true;
    mpq_set_ui(x->q, 0, 1);
    for (size_t i = 0; i < length; i++) {
        if (base == 10 && (digits[i] == 'e' || digits[i] == 'E') && any) {
            bool minus = digits[i + 1] == '-';
            long shift = 0;
            for (size_t k = i + 1 + (minus || digits[i + 1] == '+'); k < length; k++) {
                shift = 10 * shift + (digits[k] - '0');
                if (shift > MOST_EXPONENT) return false;
            }
            exponent += minus ? -shift : shift;
            break;
        }
        if (digits[i] == '.') {
            if (point || base != 10) return false;
            point = true;
            continue;
        }
        int digit = digit_value(digits[i]);
        if (digit >= base) return false;
        mpz_mul_ui(mpq_numref(x->q), mpq_numref(x->q), (unsigned long)base);
        mpz_add_ui(mpq_numref(x->q), mpq_numref(x->q), (unsigned long)digit);
        exponent -= point;
        any = true;
    }
    if (any && exponent) multiply_by_power_of_ten(x->q, exponent);
    return any;
}

/* ---- operations */

/* q^n for a whole n of either sign. */
static bool rational_power(mpq_t q, long n) {
    unsigned long size = (unsigned long)(n < 0 ? -n : n);
    size_t bits = mpz_sizeinbase(mpq_numref(q), 2), below = mpz_sizeinbase(mpq_denref(q), 2);
    if ((double)(bits > below ? bits : below) * (double)size > ANSWER_MOST_BITS) return false;
    if (n < 0 && mpq_sgn(q) == 0) return false;
    mpz_pow_ui(mpq_numref(q), mpq_numref(q), size);
    mpz_pow_ui(mpq_denref(q), mpq_denref(q), size);
    if (n < 0) mpq_inv(q, q);
    return true;
}

static bool is_whole(const mpq_t q) {
    return mpz_cmp_ui(mpq_denref(q), 1) == 0;
}

/* The exact root where there is one: (a/b)^(1/n) with n of at most two digits. */
static bool rational_root(mpq_t q, unsigned long n) {
    mpz_t top, bottom;
    if (mpq_sgn(q) < 0) return false;
    mpz_init(top);
    mpz_init(bottom);
    bool found = mpz_root(top, mpq_numref(q), n) && mpz_root(bottom, mpq_denref(q), n);
    if (found) {
        mpz_set(mpq_numref(q), top);
        mpz_set(mpq_denref(q), bottom);
    }
    mpz_clear(top);
    mpz_clear(bottom);
    return found;
}

static bool power(struct answer_number *x, const struct answer_number *y) {
    bool small = y->exact && mpz_cmpabs_ui(mpq_numref(y->q), 100000) < 0 &&
                 mpz_cmp_ui(mpq_denref(y->q), 100) < 0;
    if (x->exact && mpq_sgn(x->q) == 0 && y->exact && mpq_sgn(y->q) <= 0) return false;
    if (x->exact && small) {
        if (is_whole(y->q)) return rational_power(x->q, mpz_get_si(mpq_numref(y->q)));
        mpq_t root;
        mpq_init(root);
        mpq_set(root, x->q);
        bool exact = rational_root(root, mpz_get_ui(mpq_denref(y->q)));
        if (exact) mpq_set(x->q, root);
        mpq_clear(root);
        if (exact) return rational_power(x->q, mpz_get_si(mpq_numref(y->q)));
    }
    struct answer_number exponent;
    answer_number_init(&exponent);
    answer_number_set(&exponent, y);
    bool whole = small && is_whole(y->q);
    make_float(x);
    make_float(&exponent);
    long relative = larger_of(x->error - exponent_of(x->z), exponent.error) + 20;
    if (whole)
        mpc_pow_si(x->z, x->z, mpz_get_si(mpq_numref(y->q)), MPC_RNDNN);
    else
        mpc_pow(x->z, x->z, exponent.z, MPC_RNDNN);
    set_error(x, exponent_of(x->z) + relative);
    answer_number_clear(&exponent);
    return is_finite(x);
}

static bool apply_exact(mpq_t x, char op, const mpq_t y) {
    if (op == '+') mpq_add(x, x, y);
    if (op == '-') mpq_sub(x, x, y);
    if (op == '*') mpq_mul(x, x, y);
    if (op == '/' && mpq_sgn(y) == 0) return false;
    if (op == '/') mpq_div(x, x, y);
    return !too_large(x);
}

bool answer_number_apply(struct answer_number *x, char op, const struct answer_number *y) {
    if (op == '^') return power(x, y);
    if (x->exact && y->exact) return apply_exact(x->q, op, y->q);
    struct answer_number other;
    answer_number_init(&other);
    answer_number_set(&other, y);
    make_float(x);
    make_float(&other);
    long sum = larger_of(x->error, other.error);
    long relative = larger_of(x->error - exponent_of(x->z), other.error - exponent_of(other.z)) + 1;
    if (op == '+') mpc_add(x->z, x->z, other.z, MPC_RNDNN);
    if (op == '-') mpc_sub(x->z, x->z, other.z, MPC_RNDNN);
    if (op == '*') mpc_mul(x->z, x->z, other.z, MPC_RNDNN);
    if (op == '/') mpc_div(x->z, x->z, other.z, MPC_RNDNN);
    set_error(x, op == '+' || op == '-' ? sum : exponent_of(x->z) + relative);
    answer_number_clear(&other);
    return is_finite(x);
}

/* ---- functions */

static bool factorial(struct answer_number *x, bool twice) {
    if (!x->exact || !is_whole(x->q) || mpq_sgn(x->q) < 0) return false;
    if (mpz_cmp_ui(mpq_numref(x->q), MOST_FACTORIAL) > 0) return false;
    unsigned long n = mpz_get_ui(mpq_numref(x->q));
    if (twice)
        mpz_2fac_ui(mpq_numref(x->q), n);
    else
        mpz_fac_ui(mpq_numref(x->q), n);
    return true;
}

/* x! of a real number that is no negative whole one. The points of variables lie at least 1/281
 * from those, where an error grows by as much. */
static bool gamma_factorial(struct answer_number *x) {
    enum { LARGEST = 1000, GROWTH = 24 };
    if (x->exact && is_whole(x->q) && mpq_sgn(x->q) >= 0) return factorial(x, false);
    if (!answer_number_is_real(x) || (x->exact && is_whole(x->q))) return false;
    make_float(x);
    if (mpfr_cmp_si(mpc_realref(x->z), LARGEST) > 0 || mpfr_cmp_si(mpc_realref(x->z), -LARGEST) < 0)
        return false;
    long error = x->error;
    mpfr_t sum;
    mpfr_init2(sum, ANSWER_BITS);
    mpfr_add_ui(sum, mpc_realref(x->z), 1, MPFR_RNDN);
    mpfr_gamma(sum, sum, MPFR_RNDN);
    mpc_set_fr(x->z, sum, MPC_RNDNN);
    mpfr_clear(sum);
    set_error(x, exponent_of(x->z) + error + GROWTH);
    return is_finite(x);
}

static bool round_to_whole(struct answer_number *x, bool up) {
    mpz_t whole;
    if (!answer_number_is_real(x)) return false;
    mpz_init(whole);
    if (!x->exact)
        mpfr_get_z(whole, mpc_realref(x->z), up ? MPFR_RNDU : MPFR_RNDD);
    else if (up)
        mpz_cdiv_q(whole, mpq_numref(x->q), mpq_denref(x->q));
    else
        mpz_fdiv_q(whole, mpq_numref(x->q), mpq_denref(x->q));
    mpq_set_z(x->q, whole);
    mpz_clear(whole);
    x->exact = true;
    return true;
}

/* The real root of a real number, as "\sqrt[3]{-8}" is read; another number's first root. */
static bool cube_root(struct answer_number *x) {
    struct answer_number third;
    bool negative =
        x->exact ? mpq_sgn(x->q) < 0 : answer_number_is_real(x) && mpfr_sgn(mpc_realref(x->z)) < 0;
    answer_number_init(&third);
    answer_number_set_ratio(&third, -1, 1);
    bool fine = !negative || answer_number_apply(x, '*', &third);
    answer_number_set_ratio(&third, 1, 3);
    fine = fine && power(x, &third);
    answer_number_set_ratio(&third, -1, 1);
    fine = fine && (!negative || answer_number_apply(x, '*', &third));
    answer_number_clear(&third);
    return fine;
}

static void reciprocal_of(mpc_t z, int (*function)(mpc_ptr, mpc_srcptr, mpc_rnd_t)) {
    function(z, z, MPC_RNDNN);
    mpc_ui_div(z, 1, z, MPC_RNDNN);
}

static bool is(const char *name, size_t length, const char *other) {
    return strlen(other) == length && memcmp(name, other, length) == 0;
}

static bool constant(struct answer_number *x, const char *name, size_t length) {
    x->exact = false;
    mpc_set_ui(x->z, 1, MPC_RNDNN);
    if (is(name, length, "pi"))
        mpfr_const_pi(mpc_realref(x->z), MPFR_RNDN);
    else if (is(name, length, "e"))
        mpc_exp(x->z, x->z, MPC_RNDNN);
    else
        mpc_set_ui_ui(x->z, 0, 1, MPC_RNDNN);
    set_error(x, -ANSWER_BITS);
    return true;
}

/* What an error of the argument makes of the result, at most a few times too large: exp passes it
 * on as a relative one, roots pass a relative one on as such, logarithms as an absolute one,
 * functions of an angle an absolute one, or (near their poles) a relative one. */
static void set_error_of_call(struct answer_number *x, const char *name, long error,
                              long exponent) {
    long result = exponent_of(x->z), relative = error - exponent;
    if (strncmp(name, "exp", 3) == 0)
        set_error(x, result + error + 2);
    else if (strncmp(name, "sqrt", 4) == 0)
        set_error(x, result + relative);
    else if (name[0] == 'l')
        set_error(x, relative + 2);
    else
        set_error(x, larger_of(error, result + larger_of(error, relative)) + 2);
}

static bool call_float(struct answer_number *x, const char *name, size_t length) {
    static const struct {
        const char *name;
        int (*function)(mpc_ptr, mpc_srcptr, mpc_rnd_t);
        bool inverted;
    } functions[] = {
        {"sqrt", mpc_sqrt, false},   {"sin", mpc_sin, false},     {"cos", mpc_cos, false},
        {"tan", mpc_tan, false},     {"cot", mpc_tan, true},      {"sec", mpc_cos, true},
        {"csc", mpc_sin, true},      {"arcsin", mpc_asin, false}, {"asin", mpc_asin, false},
        {"arccos", mpc_acos, false}, {"acos", mpc_acos, false},   {"arctan", mpc_atan, false},
        {"atan", mpc_atan, false},   {"sinh", mpc_sinh, false},   {"cosh", mpc_cosh, false},
        {"tanh", mpc_tanh, false},   {"ln", mpc_log, false},      {"log", mpc_log10, false},
        {"lg", mpc_log10, false},    {"exp", mpc_exp, false},
    };
    make_float(x);
    /* Arguments of this size take long to reduce, and no answer has them. */
    if (mpfr_cmp_d(mpc_realref(x->z), 1e9) > 0 && name[0] != 's' && name[0] != 'l') return false;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        if (!is(name, length, functions[i].name)) continue;
        long error = x->error, exponent = exponent_of(x->z);
        if (functions[i].inverted)
            reciprocal_of(x->z, functions[i].function);
        else
            functions[i].function(x->z, x->z, MPC_RNDNN);
        set_error_of_call(x, name, error, exponent);
        return is_finite(x);
    }
    return false;
}

bool answer_number_call(struct answer_number *x, const char *name, size_t length) {
    if (is(name, length, "pi") || is(name, length, "e") || is(name, length, "i"))
        return constant(x, name, length);
    if (is(name, length, "!") || is(name, length, "!!")) return factorial(x, length == 2);
    if (is(name, length, "gamma")) return gamma_factorial(x);
    if (is(name, length, "floor") || is(name, length, "ceil"))
        return round_to_whole(x, name[0] == 'c');
    if (is(name, length, "cube root")) return cube_root(x);
    if (is(name, length, "abs")) {
        if (x->exact) {
            mpq_abs(x->q, x->q);
            return true;
        }
        mpfr_t size;
        mpfr_init2(size, ANSWER_BITS);
        mpc_abs(size, x->z, MPFR_RNDN);
        mpc_set_fr(x->z, size, MPC_RNDNN);
        set_error(x, x->error);
        mpfr_clear(size);
        return is_finite(x);
    }
    if (is(name, length, "sqrt") && x->exact && rational_root(x->q, 2)) return true;
    return call_float(x, name, length);
}

/* ---- comparison */

bool answer_number_equal(const struct answer_number *x, const struct answer_number *y,
                         bool decimal) {
    if (x->exact && y->exact && !decimal) return mpq_equal(x->q, y->q);
    struct answer_number difference, larger;
    mpfr_t distance, limit, size;
    answer_number_init(&difference);
    answer_number_init(&larger);
    mpfr_inits2(ANSWER_BITS, distance, limit, size, (mpfr_ptr)NULL);
    answer_number_set(&difference, x);
    answer_number_set(&larger, y);
    make_float(&difference);
    make_float(&larger);
    mpc_abs(limit, difference.z, MPFR_RNDN);
    mpc_abs(size, larger.z, MPFR_RNDN);
    mpfr_max(limit, limit, size, MPFR_RNDN);
    mpc_sub(difference.z, difference.z, larger.z, MPC_RNDNN);
    mpc_abs(distance, difference.z, MPFR_RNDN);
    /* What cancels leaves errors of the size of its operands. */
    enum { MARGIN = 32 };
    mpfr_set_ui_2exp(size, 1, larger_of(difference.error, larger.error) + MARGIN, MPFR_RNDN);
    if (decimal) mpfr_mul_d(limit, limit, 1e-9, MPFR_RNDN);
    if (!decimal)
        mpfr_set(limit, size, MPFR_RNDN);
    else if (!x->exact || !y->exact)
        mpfr_max(limit, limit, size, MPFR_RNDN);
    bool equal = mpfr_lessequal_p(distance, limit);
    mpfr_clears(distance, limit, size, (mpfr_ptr)NULL);
    answer_number_clear(&difference);
    answer_number_clear(&larger);
    return equal;
}

bool answer_number_is_real(const struct answer_number *x) {
    if (x->exact || mpfr_zero_p(mpc_imagref(x->z))) return true;
    return mpfr_get_exp(mpc_imagref(x->z)) < x->error + 32;
}

int answer_number_order(const struct answer_number *x, const struct answer_number *y) {
    if (x->exact && y->exact) {
        int order = mpq_cmp(x->q, y->q);
        return (order > 0) - (order < 0);
    }
    if (answer_number_equal(x, y, false)) return 0;
    struct answer_number left, right;
    answer_number_init(&left);
    answer_number_init(&right);
    answer_number_set(&left, x);
    answer_number_set(&right, y);
    make_float(&left);
    make_float(&right);
    int order = mpfr_cmp(mpc_realref(left.z), mpc_realref(right.z));
    answer_number_clear(&left);
    answer_number_clear(&right);
    return (order > 0) - (order < 0);
}
