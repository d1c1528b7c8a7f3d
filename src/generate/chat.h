/* Chats are those of template/chat.h, which data, to the left of generate, needs too. */
#ifndef GENERATE_CHAT_H
#define GENERATE_CHAT_H

#include "template/chat.h"

#endif
