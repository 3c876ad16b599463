# SPDX-License-Identifier: BSD-3-Clause
#
# umem_flags: how our own code is compiled. Linked PRIVATE, never exported.
include(CheckCCompilerFlag)
include(CheckCSourceCompiles)

add_library(umem_flags INTERFACE)
target_compile_options(
  umem_flags INTERFACE -Wall -Wextra -Wformat=2 -Wconversion
                       -Wimplicit-fallthrough $<$<BOOL:${UMEM_WERROR}>:-Werror>)

# Calls may come from threads with the smallest of stacks: large arrays of the
# library are on the heap. Sanitizers, and builds without optimisation, put more
# on the stack.
set(umem_frame_options "")
if(NOT UMEM_SANITIZE)
  set(umem_frame_options $<$<NOT:$<CONFIG:Debug>>:-Wframe-larger-than=3072>)
endif()

# Hardening that not every processor or compiler has.
foreach(flag -fstack-protector-strong -fstack-clash-protection
             -fcf-protection=full)
  string(MAKE_C_IDENTIFIER "UMEM_HAS${flag}" has_flag)
  check_c_compiler_flag("${flag} -Werror" ${has_flag})
  if(${has_flag})
    target_compile_options(umem_flags INTERFACE ${flag})
  endif()
endforeach()

# _FORTIFY_SOURCE needs an optimising build, and would hide errors from the
# sanitizers. The C library warns where it does not know level 3.
set(CMAKE_REQUIRED_FLAGS "-O2 -Werror -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3")
check_c_source_compiles(
  "#include <string.h>
   int main(void) { return 0; }" UMEM_HAS_FORTIFY_SOURCE_3)
unset(CMAKE_REQUIRED_FLAGS)
set(fortify -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
if(UMEM_HAS_FORTIFY_SOURCE_3)
  set(fortify -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
endif()
if(NOT UMEM_SANITIZE)
  target_compile_options(
    umem_flags INTERFACE "$<$<NOT:$<CONFIG:Debug>>:${fortify}>")
endif()

# These hold for tests, examples and benchmarks, too.
if(UMEM_SANITIZE)
  add_compile_options(-fsanitize=${UMEM_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${UMEM_SANITIZE})
endif()
if(UMEM_COVERAGE)
  add_compile_options(--coverage -fprofile-update=atomic)
  add_link_options(--coverage)
endif()
