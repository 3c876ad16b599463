/* SPDX-License-Identifier: BSD-3-Clause */
#include "os.h"

#ifdef UMEM_TEST_HOOKS
struct umemiOs umemi_os = UMEMI_OS_INITIAL;
#else
typedef int umemi_os_is_constant; /* a translation unit may not be empty */
#endif
