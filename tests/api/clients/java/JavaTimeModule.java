// Debian has no package of this module. The API's replies hold no time that it would read.
package com.fasterxml.jackson.datatype.jsr310;

public class JavaTimeModule extends com.fasterxml.jackson.databind.module.SimpleModule {}
