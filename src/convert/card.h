/* The model card of a hybrid that is trained on. */
#ifndef CONVERT_CARD_H
#define CONVERT_CARD_H

#include "base/status.h"

/* Licence files of the directory `from`, and its README.md where there is one: as it is, but where
 * `convert` said that the new mixers are not trained yet. */
enum status card_pass_on(const char *to, const char *from) STATUS_CHECKED;

#endif
