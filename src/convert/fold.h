/* Norms of the formats that store them less one. w - 1 has to round in the type of the files where
 * w is small, large or negative: such a w is written as m 2^e, m in [1, 2), and the columns of what
 * reads the normed state times 2^e (or -2^e), both of which are exact. */
#ifndef CONVERT_FOLD_H
#define CONVERT_FOLD_H

#include "convert/convert.h" /* circle: private to it and its parts */

/* Looks at the norms of a job whose config is there: unties the head where the last one needs
 * factors, and sees whether query and key norms can be held. Does nothing for other formats. */
enum status fold_prepare(struct convert_job *job) STATUS_CHECKED;

/* The factors [channels] by which a tensor of the result is to be multiplied before it is stored:
 * the columns of one that reads a normed state, the values of a norm. NULL: none. The caller frees.
 */
enum status fold_factors(float **out, const struct convert_job *job,
                         const struct convert_tensor *tensor) STATUS_CHECKED;

#endif
