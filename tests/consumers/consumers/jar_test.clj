(ns consumers.jar-test
  "The jar as other projects use it: plain, merged into an uberjar, nested in another jar, compiled ahead of time,
  and twice in one JVM.

  System properties: `httpkit.jar` is its path, `httpkit.aot.java` the `java` that compiles ahead of time (an older one
  than runs the result, where there are two)."
  (:require [clojure.edn        :as edn]
            [clojure.java.io    :as io]
            [clojure.java.shell :refer [sh]]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.java-program :as java-program]
            [httpkit.subprocess :as subprocess])
  (:import [java.io BufferedReader ByteArrayOutputStream File IOException InputStream]
           [java.net URL URLClassLoader]
           [java.nio.file Files]
           [java.nio.file.attribute FileAttribute]
           [java.security MessageDigest]
           [java.util Properties]
           [java.util.jar Attributes$Name JarEntry JarFile JarOutputStream Manifest]))

(def ^:private jar (System/getProperty "httpkit.jar"))

(def ^:private clojure-jars
  (filter #(re-find #"/(clojure|spec\.alpha|core\.specs\.alpha)-[^/]*\.jar$" %)
          (str/split (System/getProperty "java.class.path") #":")))

(def ^:private hello (slurp "tests/consumers/hello.clj"))

(defn- class-path [& paths]
  (str/join ":" (map str paths)))

(defn- temp-file ^File [suffix]
  (doto (File/createTempFile "consumers" suffix) (.deleteOnExit)))

(defn- says-hello [{:keys [exit out]}]
  (is (zero? exit) out)
  (is (= "hello /world" (:body (edn/read-string (last (str/split-lines out))))) out))

(defn- entries [^JarFile file]
  (map #(.getName ^JarEntry %) (enumeration-seq (.entries file))))

(defn- read-entry ^bytes [^JarFile file ^String entry]
  (with-open [in (.getInputStream file (.getEntry file entry))
              out (ByteArrayOutputStream.)]
    (io/copy in out)
    (.toByteArray out)))

(defn- sha256 [^bytes bytes]
  (str/join (map #(format "%02x" %) (.digest (MessageDigest/getInstance "SHA-256") bytes))))

(deftest holds-each-library-with-its-hash-and-within-the-size-budget
  (with-open [file (JarFile. ^String jar)]
    (let [index     (doto (Properties.) (.load (.getInputStream file (.getEntry file "native/httpkit.properties"))))
          libraries (filter #(str/includes? % "/") (.stringPropertyNames index))]
      (is (seq libraries))
      (is (= (set (map #(str "native/" %) libraries))
             (set (filter #(re-find #"^native/.*\.(so|dylib|dll)$" %) (entries file)))))
      (doseq [library libraries :let [bytes (read-entry file (str "native/" library))]]
        (is (= (.getProperty index library) (sha256 bytes)))
        (is (< (count bytes) 3200000) (str library " is larger than 3.2 MB"))))))

(deftest says-what-tools-ask-a-jar
  (with-open [file (JarFile. ^String jar)]
    (let [attributes (.getMainAttributes (.getManifest file))]
      (is (= "org.httpkit" (.getValue attributes "Automatic-Module-Name")))
      (is (= "ALL-UNNAMED" (.getValue attributes "Enable-Native-Access"))))
    (is (str/includes? (String. (read-entry file "META-INF/maven/http-kit/http-kit/pom.xml"))
                       "<artifactId>http-kit</artifactId>"))
    (is (str/includes? (String. (read-entry file "META-INF/native-image/http-kit/http-kit/native-image.properties"))
                       "ClientSslEngineFactory$SSLHolder"))))

(defn- released
  "The moment, in ms, that the entries are dated with."
  []
  (with-open [file (JarFile. ^String jar)]
    (.getTime (.getEntry file "org/httpkit/server.clj"))))

(deftest entries-are-dated-with-the-commit
  (with-open [file (JarFile. ^String jar)]
    (is (= 1 (count (set (map #(.getTime ^JarEntry %) (enumeration-seq (.entries file))))))))
  (is (< 1600000000000 (released)))
  (when (and (.exists (io/file ".git")) (nil? (System/getenv "SOURCE_DATE_EPOCH")))
    (is (= (* 1000 (parse-long (str/trim (:out (sh "git" "log" "-1" "--format=%ct"))))) (released)))))

(deftest compiled-classes-that-are-older-than-the-release-do-not-win
  (let [sources (.toFile (Files/createTempDirectory "consumers-stale" (make-array FileAttribute 0)))
        classes (io/file sources "classes")
        script  (format "(binding [*compile-path* \"%s\"] (compile 'org.httpkit.timer))" classes)
        stale?  (fn [zone]
                  (:out (subprocess/run "(require 'org.httpkit.timer) (prn (some? (resolve 'org.httpkit.timer/stale)))"
                                        :class-path (apply class-path classes jar clojure-jars)
                                        :jvm-args [(str "-Duser.timezone=" zone)])))]
    (.mkdirs classes)
    (io/make-parents (io/file sources "org" "httpkit" "timer.clj"))
    (spit (io/file sources "org" "httpkit" "timer.clj") "(ns org.httpkit.timer) (def stale true)")
    (is (zero? (:exit (subprocess/run script :class-path (apply class-path sources classes clojure-jars)
                                             :java (System/getProperty "httpkit.aot.java")))))
    (doseq [^File file (file-seq classes) :when (.isFile file)]
      (.setLastModified file (- (released) 60000)))
    (doseq [zone ["UTC" "Pacific/Kiritimati" "Pacific/Pago_Pago"]]
      (is (= "false" (stale? zone)) zone))))

(defn- classes-named-in-rust []
  (->> (file-seq (io/file "rust/jni/src"))
       (filter #(str/ends-with? (str %) ".rs"))
       (mapcat #(re-seq #"\"((?:java|org/httpkit)/[A-Za-z0-9_/$]+)\"" (slurp %)))
       (map #(str/replace (second %) "/" "."))
       (set)))

(deftest native-image-is-told-of-every-class-that-rust-looks-up
  (with-open [file (JarFile. ^String jar)]
    (let [config (String. (read-entry file "META-INF/native-image/http-kit/http-kit/jni-config.json"))]
      (is (contains? (classes-named-in-rust) "org.httpkit.jni.ServerUpcalls"))
      (doseq [class-name (classes-named-in-rust)]
        (is (str/includes? config (str \" class-name \")) class-name)))))

(deftest holds-the-licences-of-all-that-it-is-made-of
  (with-open [file (JarFile. ^String jar)]
    (let [text  #(String. (read-entry file (str "META-INF/" %)))
          third (text "THIRD-PARTY")]
      (is (not (re-find #"\[(yyyy|name of copyright owner)\]" (text "LICENSE"))) "whose it is")
      (is (str/includes? (text "NOTICE") "THIRD-PARTY"))
      (doseq [[licence words] {"MIT" "Permission is hereby granted, free of charge"
                               "ISC" "Permission to use, copy, modify, and/or distribute this software"
                               "BSD" "Redistribution and use in source and binary forms"}]
        (is (str/includes? third words) licence))
      (doseq [[_ crate licence] (re-seq #"(?m)^([a-z0-9_-]+ \d+\.\d+[^:\n]*): (.*)$" third)
              ;; What comes without a text of its own is under the Apache License, which LICENSE is.
              :when (not (re-find #"(^| )Apache-2\.0( |$)" licence))]
        (is (re-find (re-pattern (str "(?m)^\\Q" crate ", \\E")) third) crate)))))

(deftest holds-only-its-own
  (with-open [file (JarFile. ^String jar)]
    (is (empty? (remove #(re-find #"^(META-INF/|org/$|org/httpkit/|native/|clj-kondo\.exports/)" %) (entries file))))))

(deftest classes-are-bytecode-for-java-11
  (with-open [file (JarFile. ^String jar)]
    (doseq [entry (filter #(str/ends-with? % ".class") (entries file))]
      (is (= 55 (aget (read-entry file entry) 7)) entry))))

(deftest serves-from-the-plain-jar
  (says-hello (subprocess/run hello :class-path (apply class-path jar clojure-jars))))

(defn- write-jar
  "Writes entries [name bytes] to `target`; the first of each name wins."
  [^File target main-class entries]
  (let [manifest (Manifest.)]
    (doto (.getMainAttributes manifest)
      (.put Attributes$Name/MANIFEST_VERSION "1.0")
      (.put Attributes$Name/MAIN_CLASS main-class)
      (.putValue "Enable-Native-Access" "ALL-UNNAMED"))
    (with-open [out (JarOutputStream. (io/output-stream target) manifest)]
      (reduce (fn [seen [^String entry ^bytes content]]
                (when-not (seen entry)
                  (.putNextEntry out (JarEntry. entry))
                  (.write out content))
                (conj seen entry))
              #{"META-INF/MANIFEST.MF"}
              entries))))

(defn- content-of [path]
  (with-open [file (JarFile. (str path))]
    (vec (for [entry (entries file) :when (not (str/ends-with? entry "/"))]
           [entry (read-entry file entry)]))))

(defn- java [& args]
  (subprocess/finish
    (.start (.redirectErrorStream (ProcessBuilder. ^java.util.List (into [subprocess/java-command] args)) true))))

(deftest serves-from-an-uberjar-without-a-warning
  (let [uberjar (temp-file ".jar")]
    (write-jar uberjar "clojure.main" (mapcat content-of (cons jar clojure-jars)))
    (let [{:keys [out] :as result} (java "-jar" (str uberjar) "-e" hello)]
      (says-hello result)
      (is (not (str/includes? out "WARNING")) "Enable-Native-Access of the manifest covers it"))))

(def ^:private compiled (slurp "tests/consumers/compiled.clj"))

(def ^:private ring ["tests/ring-websocket" "tests/ring-streams"])

(defn- compile-ahead-of-time
  "Compiles server and client, with `paths` on the class path too. Returns the directory of the classes."
  [paths]
  (let [classes (str (Files/createTempDirectory "consumers-aot" (make-array FileAttribute 0)))
        script  (format "(binding [*compile-path* \"%s\"] (compile 'org.httpkit.server) (compile 'org.httpkit.client))"
                        classes)
        result  (subprocess/run script :class-path (apply class-path classes jar (concat paths clojure-jars))
                                :java (System/getProperty "httpkit.aot.java"))]
    (is (zero? (:exit result)) (:out result))
    classes))

(def ^:private jar-without-sources
  (delay
    (doto (temp-file ".jar")
      (write-jar "clojure.main" (remove (fn [[entry]] (re-find #"\.clj$" entry)) (content-of jar))))))

(defn- run-compiled
  "What the program in compiled.clj prints."
  [& paths]
  (let [{:keys [exit out]} (subprocess/run compiled :class-path (apply class-path (concat paths clojure-jars)))]
    (is (zero? exit) out)
    (edn/read-string (last (str/split-lines out)))))

(deftest serves-when-compiled-ahead-of-time
  (let [classes (compile-ahead-of-time [])]
    (is (.exists (io/file classes "org/httpkit/server__init.class")))
    (says-hello (subprocess/run hello :class-path (apply class-path classes jar clojure-jars)))
    (testing "and run with Ring, which was not there"
      (is (= '[org.httpkit.ring-websocket org.httpkit.ring-streams]
             (:ring (apply run-compiled classes jar ring)))))))

(deftest serves-without-sources-when-compiled-with-ring
  (let [classes (compile-ahead-of-time ring)]
    (is (= '{:body          "hello /world"
             :loaded-by-use ()
             :ring          (org.httpkit.ring-websocket org.httpkit.ring-streams)}
           (run-compiled classes @jar-without-sources)))
    (testing "and run without Ring"
      (run! #(.delete ^File %) (reverse (file-seq (io/file classes "ring"))))
      (is (= '{:body "hello /world" :loaded-by-use () :ring ()}
             (run-compiled classes @jar-without-sources))))))

(def ^:private until-it-drains
  "Prints its server's port; a request waits, once it has printed :running, until the server drains."
  "(require '[org.httpkit.server :as server])
   (let [started (promise)]
     (deliver started (server/run-server
                        (fn [_]
                          (println :running)
                          (while (= :running (server/server-status @started)) (Thread/sleep 5))
                          {:body \"drained\"})
                        {:port 0 :ip \"127.0.0.1\" :stop-on-shutdown? true :legacy-return-value? false}))
     (println (server/server-port @started))
     @(promise))")

(deftest a-server-whose-jar-was-replaced-by-another-drains
  (let [copy    (temp-file ".jar")
        _       (io/copy (io/file jar) copy)
        process (subprocess/start until-it-drains :class-path (apply class-path copy clojure-jars)
                                                  :jvm-args   subprocess/native-access)]
    (try
      (with-open [out (io/reader (.getInputStream process))]
        (let [port     (Long/parseLong (.readLine ^BufferedReader out))
              response (future (try (slurp (str "http://127.0.0.1:" port)) (catch IOException e (str e))))]
          (is (= ":running" (.readLine ^BufferedReader out)))
          (io/copy (io/file (first clojure-jars)) copy)
          (.destroy process)
          (is (= "drained" (deref response 60000 :late)))))
      (finally (.destroyForcibly process)))))

(deftest using-a-server-and-a-client-loads-no-namespace
  (is (= [() '(org.httpkit.ring-websocket org.httpkit.ring-streams)]
         ((juxt :loaded-by-use :ring) (apply run-compiled jar ring)))))

(defn- nested-jar-loader
  "Reads classes and resources from a jar's bytes, as launchers do that keep jars inside a jar."
  ^ClassLoader [path parent]
  (let [content (into {} (content-of path))
        stream  (fn [entry] (some-> ^bytes (content entry) (java.io.ByteArrayInputStream.)))]
    (proxy [ClassLoader] [parent]
      (findClass [^String class-name]
        (let [^bytes bytes (content (str (str/replace class-name "." "/") ".class"))]
          (if bytes
            (let [define (doto (.getDeclaredMethod ClassLoader "defineClass"
                                                   (into-array Class [String (Class/forName "[B") Integer/TYPE Integer/TYPE]))
                           (.setAccessible true))]
              (.invoke define this (object-array [class-name bytes (int 0) (int (count bytes))])))
            (throw (ClassNotFoundException. class-name)))))
      (getResourceAsStream [entry]
        (stream entry)))))

(defn- loaded-file [^ClassLoader loader]
  (let [library (Class/forName "org.httpkit.jni.NativeLibrary" true loader)
        info    (.invoke (.getMethod library "info" (make-array Class 0)) nil (object-array 0))]
    (get info "file")))

(deftest loads-from-a-nested-jar
  (let [script (str "(require 'consumers.jar-test) (prn (#'consumers.jar-test/loaded-file"
                    " (#'consumers.jar-test/nested-jar-loader \"" jar "\" (ClassLoader/getPlatformClassLoader))))"
                    " (shutdown-agents)")
        {:keys [exit out]} (subprocess/run script :jvm-args ["--add-opens=java.base/java.lang=ALL-UNNAMED"])]
    (is (zero? exit) out)
    (is (str/includes? (str out) "httpkit-") out)))

(defn- evaluate-in
  "Value of the program `text`, run by the Clojure that `loader` loads."
  [^ClassLoader loader text]
  (let [thread (Thread/currentThread)
        before (.getContextClassLoader thread)]
    (.setContextClassLoader thread loader)
    (try
      (let [api         (Class/forName "clojure.java.api.Clojure" true loader)
            load-string (.invoke (.getMethod api "var" (into-array Class [Object Object]))
                                 nil (object-array ["clojure.core" "load-string"]))]
        (.invoke (.getMethod (.getClass load-string) "invoke" (into-array Class [Object]))
                 load-string (object-array [text])))
      (finally (.setContextClassLoader thread before)))))

(deftest a-java-program-compiles-against-the-jar-and-embeds-both-kinds-of-server
  (let [path    (apply class-path jar clojure-jars)
        classes (java-program/compile! "tests/java/embedder" path)
        process (.start (.redirectErrorStream
                          (ProcessBuilder. ^java.util.List [subprocess/java-command "--enable-native-access=ALL-UNNAMED"
                                                            "-cp" (class-path classes path) "embedder.Embedder"])
                          true))
        out     (io/reader (.getInputStream process))
        ports   (.readLine ^java.io.BufferedReader out)
        [plain ring] (str/split ports #" ")]
    (is (= "hello jar" (slurp (str "http://127.0.0.1:" plain "/hello?jar"))) ports)
    (is (= "ring /jar" (slurp (str "http://127.0.0.1:" ring "/jar"))))
    (.close (.getOutputStream process))
    (let [{:keys [exit out]} (subprocess/finish process)]
      (is (zero? exit))
      (is (re-matches #"\[close \d+\]" out) "with what is left of the time"))))

(deftest two-class-loaders-of-one-jvm-both-serve
  (let [urls    (into-array URL (map #(.toURL (.toURI (io/file %))) (cons jar clojure-jars)))
        text    "(require '[org.httpkit.server :as server] '[org.httpkit.utils :as utils])
                 (let [stop (server/run-server (fn [_] {:status 200 :body \"here\"}) {:port 0 :ip \"127.0.0.1\"})]
                   (try (str (slurp (str \"http://127.0.0.1:\" (:local-port (meta stop)))) \" \" (:file (utils/native-info)))
                        (finally (stop))))"
        answer  #(str (evaluate-in (URLClassLoader. urls (ClassLoader/getPlatformClassLoader)) text))
        answers (doall (repeatedly 2 answer))]
    (is (every? #(str/starts-with? % "here ") answers))
    (is (apply distinct? answers) "the second loader has a copy of its own")))
