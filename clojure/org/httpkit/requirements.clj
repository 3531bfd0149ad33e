(ns ^:no-doc org.httpkit.requirements
  "The oldest Java and Clojure that the library runs on. Not API. Loaded before the first class of ours: an older JVM
  would name a class file version, which says neither what is wrong nor what to do.")

(def ^:private oldest-java 11)
(def ^:private oldest-clojure [1 9])

(defn- feature
  "8 of \"1.8\", 11 of \"11\"."
  [^String specification-version]
  (Long/parseLong (second (re-find #"^(?:1\.)?(\d+)" specification-version))))

(defn check!
  "Throws UnsupportedOperationException if this is no JVM or Clojure to run on. Arguments: the property
  java.specification.version, and `*clojure-version*`."
  [java-version {:keys [major minor]}]
  (when (< (feature java-version) oldest-java)
    (throw (UnsupportedOperationException.
             (str "http-kit on Rust needs Java " oldest-java " or later, and this is Java " (feature java-version) " ("
                  (System/getProperty "java.home") "): start the program with another one"))))
  (when (neg? (compare [major minor] oldest-clojure))
    (throw (UnsupportedOperationException.
             (str "http-kit on Rust needs Clojure 1.9 or later, and this is Clojure " major "." minor)))))

(check! (System/getProperty "java.specification.version") *clojure-version*)
