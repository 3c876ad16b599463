# SPDX-License-Identifier: BSD-3-Clause
#
# The installed tree: headers, both libraries, umem.pc and the CMake package.
# It may be moved as a whole: nothing in it knows where it lies.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/umem)

install(FILES include/umem.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY include/umem DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(
  TARGETS umem_shared umem_static
  EXPORT umem-targets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT umem-targets NAMESPACE umem:: DESTINATION ${package_dir})

write_basic_package_version_file(umem-config-version.cmake
                                 COMPATIBILITY SameMajorVersion)
install(FILES cmake/umem-config.cmake
              ${PROJECT_BINARY_DIR}/umem-config-version.cmake
        DESTINATION ${package_dir})

# umem.pc finds the prefix from its own place.
set(pc_dir ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH pc_prefix ${pc_dir} ${CMAKE_INSTALL_PREFIX})
file(RELATIVE_PATH pc_includedir ${pc_dir} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
configure_file(cmake/umem.pc.in umem.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/umem.pc
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
