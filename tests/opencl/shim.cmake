# SPDX-License-Identifier: BSD-3-Clause
#
# A libOpenCL.so.1 in front of the real one, for tests to make it fail
# (shim/shim.h). A test finds it by LD_LIBRARY_PATH=${UMEM_SHIM_DIR}; the real
# one is the machine's, or what UMEM_SHIM_REAL says, now or when a test runs.
set(UMEM_SHIM_DIR ${CMAKE_CURRENT_BINARY_DIR}/shim)
find_library(UMEM_SHIM_REAL NAMES libOpenCL.so.1 OpenCL HINTS ENV UMEM_SHIM_REAL
             DOC "The libOpenCL.so.1 behind the tests' shim")

set(shim ${CMAKE_CURRENT_LIST_DIR}/shim)
add_library(umem_shim SHARED ${shim}/forward.c ${shim}/live.c ${shim}/script.c)
set_target_properties(
  umem_shim
  PROPERTIES C_STANDARD 11
             C_VISIBILITY_PRESET hidden
             OUTPUT_NAME OpenCL
             SOVERSION 1
             LIBRARY_OUTPUT_DIRECTORY ${UMEM_SHIM_DIR})
if(DEFINED ENV{UMEM_SHIM_REAL})
  target_compile_definitions(umem_shim PRIVATE SHIM_REAL="$ENV{UMEM_SHIM_REAL}")
elseif(UMEM_SHIM_REAL)
  target_compile_definitions(umem_shim PRIVATE SHIM_REAL="${UMEM_SHIM_REAL}")
endif()
target_link_libraries(umem_shim PRIVATE umem_flags Threads::Threads
                                        ${CMAKE_DL_LIBS})
