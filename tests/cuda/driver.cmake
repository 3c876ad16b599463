# SPDX-License-Identifier: BSD-3-Clause
#
# The simulated CUDA driver (driver/simcu.h) in three variants, each a
# libcuda.so.1 in a directory of its own, for tests to find by LD_LIBRARY_PATH:
#   UMEM_SIMCU_DIR       as of CUDA 13.0
#   UMEM_SIMCU_OLD_DIR   as of CUDA 11.0, without the optional functions
#   UMEM_SIMCU_STUB_DIR  the linkers' one, of which each call fails
# and umem_simcu_tests(), which adds the tests of the simulation itself.
set(UMEM_SIMCU_DIR ${CMAKE_CURRENT_BINARY_DIR}/driver)
set(UMEM_SIMCU_OLD_DIR ${CMAKE_CURRENT_BINARY_DIR}/driver_old)
set(UMEM_SIMCU_STUB_DIR ${CMAKE_CURRENT_BINARY_DIR}/driver_stub)

file(GLOB simcu_sources CONFIGURE_DEPENDS
     ${CMAKE_CURRENT_LIST_DIR}/driver/*.c)
set(simcu_stub ${CMAKE_CURRENT_LIST_DIR}/driver/stub.c)
list(REMOVE_ITEM simcu_sources ${simcu_stub})

# nodelete: the program's exit calls into it.
function(umem_simcu_variant name directory)
  add_library(${name} SHARED ${ARGN})
  set_target_properties(
    ${name}
    PROPERTIES C_STANDARD 11
               C_VISIBILITY_PRESET hidden
               OUTPUT_NAME cuda
               SOVERSION 1
               LIBRARY_OUTPUT_DIRECTORY ${directory})
  target_link_options(${name} PRIVATE LINKER:-z,nodelete)
  target_link_libraries(${name} PRIVATE umem_flags Threads::Threads)
endfunction()

umem_simcu_variant(umem_simcu ${UMEM_SIMCU_DIR} ${simcu_sources})
umem_simcu_variant(umem_simcu_old ${UMEM_SIMCU_OLD_DIR} ${simcu_sources})
target_compile_definitions(umem_simcu_old PRIVATE SIMCU_VERSION=11000)
umem_simcu_variant(umem_simcu_stub ${UMEM_SIMCU_STUB_DIR} ${simcu_stub})

# Needs cmocka and no libumem.
file(GLOB simcu_tests CONFIGURE_DEPENDS
     ${CMAKE_CURRENT_LIST_DIR}/driver/test/*.c)
list(APPEND simcu_tests ${CMAKE_CURRENT_LIST_DIR}/test_cuda_driver.c
     ${CMAKE_CURRENT_LIST_DIR}/planted_bugs.c)
function(umem_simcu_tests)
  add_executable(test_cuda_driver ${simcu_tests})
  set_target_properties(test_cuda_driver PROPERTIES C_STANDARD 11)
  target_link_libraries(
    test_cuda_driver PRIVATE umem_flags PkgConfig::cmocka Threads::Threads
                             ${CMAKE_DL_LIBS})
  target_compile_definitions(
    test_cuda_driver PRIVATE SIMCU_OLD="${UMEM_SIMCU_OLD_DIR}"
                             SIMCU_STUB="${UMEM_SIMCU_STUB_DIR}")
  add_dependencies(test_cuda_driver umem_simcu umem_simcu_old umem_simcu_stub)
  add_test(NAME cuda_driver COMMAND test_cuda_driver)
  set_tests_properties(
    cuda_driver PROPERTIES ENVIRONMENT LD_LIBRARY_PATH=${UMEM_SIMCU_DIR}
                           TIMEOUT 120 LABELS unit)
endfunction()
